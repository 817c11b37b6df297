// Copyright: The Lowtide authors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vapi/tags"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// center is the vCenter: its machines, the sessions that are open, the faults that wait, and what was asked of it.
type center struct {
	config   *config
	inner    http.Handler
	machines map[string]*machine                       // by name
	byRef    map[types.ManagedObjectReference]*machine // by reference
	load     *load

	mu       sync.Mutex
	sessions map[string]bool
	faults   []*fault
	away     time.Time // 503 until then
	calls    map[string]int
	history  []event
}

// event is one thing that was done to a machine.
type event struct {
	Time    float64 `json:"time"`
	Machine string  `json:"vm"`
	Action  string  `json:"action"`
	Outcome string  `json:"outcome"`
}

func newCenter(config *config, inner http.Handler) *center {
	return &center{
		config: config, inner: inner,
		machines: map[string]*machine{}, byRef: map[types.ManagedObjectReference]*machine{},
		load: newLoad(), sessions: map[string]bool{}, calls: map[string]int{},
	}
}

func (c *center) record(machine, action, outcome string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := float64(time.Now().UnixNano()) / 1e9
	c.history = append(c.history, event{now, machine, action, outcome})
}

// stop ends every command, all at once.
func (c *center) stop() {
	var wait sync.WaitGroup
	for _, m := range c.machines {
		wait.Add(1)
		go func(m *machine) {
			defer wait.Done()
			m.endLife()
		}(m)
	}
	wait.Wait()
}

// populate makes the hosts, folders, machines, attributes and tags of the configuration.
func (c *center) populate(ctx context.Context, service *simulator.Service) error {
	client, err := vim25.NewClient(ctx, service)
	if err != nil {
		return err
	}
	hosts := map[string]types.ManagedObjectReference{}
	// Asked for once: each answer has an order of its own, and a host would get two names.
	all := simulator.Map.All("HostSystem")
	for index, name := range c.config.hosts() {
		host := all[index]
		simulator.Map.Update(host, []types.PropertyChange{
			{Name: "name", Val: name}, {Name: "summary.config.name", Val: name},
		})
		hosts[name] = host.Reference()
	}
	datacenter := object.NewDatacenter(client, simulator.Map.Any("Datacenter").Reference())
	folders, err := datacenter.Folders(ctx)
	if err != nil {
		return err
	}
	made := map[string]*object.Folder{"": folders.VmFolder}
	fields := map[string]int32{}
	for _, config := range c.config.Machines {
		folder, err := makeFolder(ctx, made, config.Folder)
		if err != nil {
			return err
		}
		host := hosts[c.config.hosts()[0]]
		if config.Host != "" {
			host = hosts[config.Host]
		}
		vm, err := createMachine(ctx, client, folder, object.NewHostSystem(client, host), config)
		if err != nil {
			return fmt.Errorf("vm %s: %w", config.Name, err)
		}
		if err := setAttributes(ctx, client, fields, vm, config.Attributes); err != nil {
			return err
		}
		machine := &machine{center: c, config: config, vm: vm}
		c.machines[config.Name], c.byRef[vm.Self] = machine, machine
		machine.initial()
	}
	return c.tag(ctx, service)
}

func makeFolder(ctx context.Context, made map[string]*object.Folder, path string) (*object.Folder, error) {
	path = strings.Trim(path, "/")
	if folder, ok := made[path]; ok {
		return folder, nil
	}
	above, name := "", path
	if cut := strings.LastIndex(path, "/"); cut >= 0 {
		above, name = path[:cut], path[cut+1:]
	}
	parent, err := makeFolder(ctx, made, above)
	if err != nil {
		return nil, err
	}
	made[path], err = parent.CreateFolder(ctx, name)
	return made[path], err
}

func createMachine(
	ctx context.Context, client *vim25.Client, folder *object.Folder, host *object.HostSystem, config *machineC,
) (*simulator.VirtualMachine, error) {
	pool, err := host.ResourcePool(ctx)
	if err != nil {
		return nil, err
	}
	spec := types.VirtualMachineConfigSpec{
		Name:     config.Name,
		GuestId:  string(types.VirtualMachineGuestOsIdentifierOtherGuest),
		Files:    &types.VirtualMachineFileInfo{VmPathName: "[LocalDS_0]"},
		NumCPUs:  config.CPUs,
		MemoryMB: config.MemoryMB,
	}
	task, err := folder.CreateVM(ctx, spec, pool, host)
	if err != nil {
		return nil, err
	}
	info, err := task.WaitForResult(ctx, nil)
	if err != nil {
		return nil, err
	}
	return simulator.Map.Get(info.Result.(types.ManagedObjectReference)).(*simulator.VirtualMachine), nil
}

func setAttributes(
	ctx context.Context, client *vim25.Client, fields map[string]int32, vm *simulator.VirtualMachine,
	attributes map[string]string,
) error {
	if len(attributes) == 0 {
		return nil
	}
	manager, err := object.GetCustomFieldsManager(client)
	if err != nil {
		return err
	}
	for name, value := range attributes {
		if _, ok := fields[name]; !ok {
			def, err := manager.Add(ctx, name, "VirtualMachine", nil, nil)
			if err != nil {
				return err
			}
			fields[name] = def.Key
		}
		if err := manager.Set(ctx, vm.Self, fields[name], value); err != nil {
			return err
		}
	}
	return nil
}

// tag attaches the tags, through the same REST interface that clients use.
func (c *center) tag(ctx context.Context, service *simulator.Service) error {
	wanted := false
	for _, machine := range c.config.Machines {
		wanted = wanted || len(machine.Tags) > 0
	}
	if !wanted {
		return nil
	}
	client, err := vim25.NewClient(ctx, soap.NewClient(service.Listen, true))
	if err != nil {
		return err
	}
	outside := rest.NewClient(client)
	if err := outside.Login(ctx, service.Listen.User); err != nil {
		return err
	}
	manager := tags.NewManager(outside)
	categories, known := map[string]string{}, map[string]string{}
	for _, machine := range c.config.Machines {
		for category, tag := range machine.Tags {
			if _, ok := categories[category]; !ok {
				if categories[category], err = manager.CreateCategory(ctx, &tags.Category{
					Name: category, Cardinality: "SINGLE", AssociableTypes: []string{"VirtualMachine"},
				}); err != nil {
					return err
				}
			}
			key := category + "\x00" + tag
			if _, ok := known[key]; !ok {
				if known[key], err = manager.CreateTag(ctx, &tags.Tag{
					Name: tag, CategoryID: categories[category],
				}); err != nil {
					return err
				}
			}
			if err := manager.AttachTag(ctx, known[key], c.machines[machine.Name].vm.Self); err != nil {
				return err
			}
		}
	}
	return nil
}
