// Copyright: The Lowtide authors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// machine is a virtual machine and the guest that lives in it while it is powered on.
type machine struct {
	center *center
	config *machineC
	vm     *simulator.VirtualMachine

	mu      sync.Mutex
	busy    bool               // a power task is running
	noTools bool               // the tools of this guest never start
	hung    bool               // this guest ignores a request to shut down
	end     context.CancelFunc // ends the life of the guest
	ended   chan struct{}      // closed when it has ended
	pid     int                // of the command, 0 when it does not run
}

var powerStates = map[string]types.VirtualMachinePowerState{
	"on":        types.VirtualMachinePowerStatePoweredOn,
	"off":       types.VirtualMachinePowerStatePoweredOff,
	"suspended": types.VirtualMachinePowerStateSuspended,
}

// power is the machine's power state in the configuration's words.
func (m *machine) power() string {
	result := ""
	simulator.Map.WithLock(m.vm, func() {
		for word, state := range powerStates {
			if m.vm.Runtime.PowerState == state {
				result = word
			}
		}
	})
	return result
}

func (m *machine) update(changes ...types.PropertyChange) {
	simulator.Map.WithLock(m.vm, func() { simulator.Map.Update(m.vm, changes) })
}

func (m *machine) setPower(word string) {
	state := powerStates[word]
	m.update(
		types.PropertyChange{Name: "runtime.powerState", Val: state},
		types.PropertyChange{Name: "summary.runtime.powerState", Val: state},
	)
}

func (m *machine) setGuest(up bool) {
	tools, status, state, address := "guestToolsNotRunning", types.VirtualMachineToolsStatusToolsNotRunning, "notRunning", ""
	if up {
		tools, status, state, address = "guestToolsRunning", types.VirtualMachineToolsStatusToolsOk, "running", m.config.Address
	}
	m.update(
		types.PropertyChange{Name: "guest.toolsRunningStatus", Val: tools},
		types.PropertyChange{Name: "guest.toolsStatus", Val: status},
		types.PropertyChange{Name: "guest.guestState", Val: state},
		types.PropertyChange{Name: "guest.ipAddress", Val: address},
		types.PropertyChange{Name: "guest.hostName", Val: m.config.Name},
		types.PropertyChange{Name: "summary.guest.toolsRunningStatus", Val: tools},
		types.PropertyChange{Name: "summary.guest.ipAddress", Val: address},
	)
}

// initial puts the machine into its first state; one that is on has booted.
func (m *machine) initial() {
	m.setPower(m.config.Power)
	m.setGuest(false)
	if m.config.Power == "on" {
		m.beginLife(0)
	}
}

// become changes the power state for good: what a power task does when its time has come.
func (m *machine) become(word string) {
	before := m.power()
	if word == "on" {
		m.setPower(word)
		if before == "suspended" {
			m.beginLife(*m.config.Resume)
		} else {
			m.beginLife(*m.config.Boot)
		}
		return
	}
	m.endLife()
	m.setPower(word)
}

// beginLife boots the guest and then keeps its command running.
func (m *machine) beginLife(boot float64) {
	life, end := context.WithCancel(context.Background())
	ended := make(chan struct{})
	m.mu.Lock()
	m.end, m.ended = end, ended
	noTools := m.noTools
	m.mu.Unlock()
	go func() {
		defer close(ended)
		if !pause(life, boot) {
			return
		}
		if !noTools {
			m.setGuest(true)
		}
		for len(m.config.Command) > 0 && life.Err() == nil {
			if err := m.runCommand(life); err != nil {
				fmt.Fprintf(os.Stderr, "%s: %v\n", m.config.Name, err)
			}
			pause(life, *m.config.Respawn)
		}
		<-life.Done()
	}()
}

// endLife ends command and guest, and returns when they are gone.
func (m *machine) endLife() {
	m.mu.Lock()
	end, ended := m.end, m.ended
	m.end, m.ended = nil, nil
	m.mu.Unlock()
	if end != nil {
		end()
		<-ended
	}
	m.setGuest(false)
}

// runCommand runs the command until it ends, or its life does. The kernel kills it if the simulator dies; that
// promise is bound to the thread that started it, which is therefore held.
func (m *machine) runCommand(life context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	command := exec.Command(m.config.Command[0], m.config.Command[1:]...)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	command.Env = os.Environ()
	for name, value := range m.config.Env {
		command.Env = append(command.Env, name+"="+value)
	}
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	if m.center.config.LogDirectory != "" {
		path := filepath.Join(m.center.config.LogDirectory, m.config.Name+".log")
		file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		defer file.Close()
		command.Stdout, command.Stderr = file, file
	}
	if err := command.Start(); err != nil {
		return err
	}
	m.setPid(command.Process.Pid)
	defer m.setPid(0)
	over := make(chan struct{})
	go func() { m.endCommand(life, command.Process.Pid, over) }()
	err := command.Wait()
	close(over)
	if life.Err() != nil {
		return nil
	}
	return err
}

// endCommand asks the command's process group to end when its life does, and kills it if it takes too long.
func (m *machine) endCommand(life context.Context, pid int, over <-chan struct{}) {
	select {
	case <-over:
		return
	case <-life.Done():
	}
	syscall.Kill(-pid, syscall.SIGTERM)
	select {
	case <-over:
	case <-time.After(duration(*m.config.Stop)):
		syscall.Kill(-pid, syscall.SIGKILL)
	}
}

func (m *machine) setPid(pid int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pid = pid
}

// pause waits, and says whether life went on until its end.
func pause(life context.Context, seconds float64) bool {
	timer := time.NewTimer(duration(seconds))
	defer timer.Stop()
	select {
	case <-life.Done():
		return false
	case <-timer.C:
		return true
	}
}
