// Copyright: The Lowtide authors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// powerMethods are the calls that the simulator leaves to us, and the power state each leads to.
var powerMethods = map[string]string{
	"PowerOnVM_Task": "on", "PowerOffVM_Task": "off", "SuspendVM_Task": "suspended", "ShutdownGuest": "off",
}

// servePower answers a power call: at once with a task that takes its time, as vCenter does.
func (c *center) servePower(w http.ResponseWriter, call *call, taskFault types.BaseMethodFault) {
	machine := c.byRef[call.this]
	if machine == nil {
		writeFault(w, "The object has already been deleted or has not been completely created",
			&types.ManagedObjectNotFound{Obj: call.this})
		return
	}
	if call.method == "ShutdownGuest" {
		c.serveShutdown(w, machine)
		return
	}
	machine.mu.Lock()
	busy := machine.busy
	machine.busy = true
	machine.mu.Unlock()
	if busy {
		c.record(machine.config.Name, call.method, "busy")
		writeFault(w, "Another task is already in progress.", &types.TaskInProgress{Task: call.this})
		return
	}
	name := call.method[:len(call.method)-len("VM_Task")]
	task := simulator.CreateTask(machine.vm, strings.ToLower(name[:1])+name[1:], nil)
	machine.update(types.PropertyChange{
		Name: "recentTask", Val: []types.ManagedObjectReference{task.Self},
	})
	go machine.perform(task, call.method, powerMethods[call.method], taskFault)
	writeTask(w, call.method, task.Self)
}

// perform is the task itself.
func (m *machine) perform(task *simulator.Task, method, wanted string, fault types.BaseMethodFault) {
	set := func(changes ...types.PropertyChange) {
		simulator.Map.WithLock(task, func() { simulator.Map.Update(task, changes) })
	}
	set(
		types.PropertyChange{Name: "info.startTime", Val: time.Now()},
		types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateRunning},
	)
	pause(context.Background(), *m.config.Task)
	before := m.power()
	if fault == nil && (before == wanted || (wanted == "suspended" && before == "off")) {
		fault = &types.InvalidPowerState{RequestedState: powerStates[wanted], ExistingState: powerStates[before]}
	}
	if fault == nil {
		m.become(wanted)
	}
	m.mu.Lock()
	m.busy = false
	m.mu.Unlock()
	if fault != nil {
		m.center.record(m.config.Name, method, "error")
		set(
			types.PropertyChange{Name: "info.completeTime", Val: time.Now()},
			types.PropertyChange{Name: "info.error", Val: types.LocalizedMethodFault{
				Fault: fault, LocalizedMessage: faultMessage(fault),
			}},
			types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateError},
		)
		return
	}
	m.center.record(m.config.Name, method, "done")
	set(
		types.PropertyChange{Name: "info.completeTime", Val: time.Now()},
		types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateSuccess},
	)
}

func faultMessage(fault types.BaseMethodFault) string {
	switch f := fault.(type) {
	case *types.InvalidPowerState:
		return "The attempted operation cannot be performed in the current state (" + string(f.ExistingState) + ")."
	case *types.GenericVmConfigFault:
		return f.Reason
	}
	return fmt.Sprintf("%T", fault)
}

// serveShutdown asks the guest to shut down: it answers at once, and the machine is off a while later.
func (c *center) serveShutdown(w http.ResponseWriter, m *machine) {
	if power := m.power(); power != "on" {
		c.record(m.config.Name, "ShutdownGuest", "error")
		writeFault(w, "The attempted operation cannot be performed in the current state.", &types.InvalidPowerState{
			RequestedState: types.VirtualMachinePowerStatePoweredOn, ExistingState: powerStates[power],
		})
		return
	}
	running := false
	simulator.Map.WithLock(m.vm, func() { running = m.vm.Guest.ToolsRunningStatus == "guestToolsRunning" })
	if !running {
		c.record(m.config.Name, "ShutdownGuest", "error")
		writeFault(w, "Cannot complete operation because VMware Tools is not running in this virtual machine.",
			&types.ToolsUnavailable{})
		return
	}
	m.mu.Lock()
	hung, ended := m.hung, m.ended
	m.mu.Unlock()
	c.record(m.config.Name, "ShutdownGuest", "accepted")
	if !hung {
		go func() {
			select {
			case <-ended: // powered off meanwhile
			case <-time.After(duration(*m.config.Shutdown)):
				m.become("off")
			}
		}()
	}
	writeEmpty(w, "ShutdownGuestResponse")
}
