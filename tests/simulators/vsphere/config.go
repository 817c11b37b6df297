// Copyright: The Lowtide authors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"encoding/json"
	"fmt"
	"os"
)

// config is what a simulator is asked to be.
type config struct {
	Listen       string      `json:"listen"` // address:port, port 0 for a free one
	Certificate  string      `json:"certificate"`
	Key          string      `json:"key"`
	User         string      `json:"user"`
	Password     string      `json:"password"`
	LogDirectory string      `json:"log_directory"` // output of the commands, one file per machine; none: inherited
	EndWithInput bool        `json:"end_with_input"`
	Verbose      bool        `json:"verbose"`
	Machines     []*machineC `json:"vms"`
	Defaults     timesC      `json:"defaults"`
}

// timesC is how long things take, in seconds; what a machine leaves out comes from the defaults.
type timesC struct {
	Boot     *float64 `json:"boot_seconds"`     // from powered on to tools running, address known, command started
	Resume   *float64 `json:"resume_seconds"`   // the same after a suspend
	Shutdown *float64 `json:"shutdown_seconds"` // from asked to shut down to powered off
	Task     *float64 `json:"task_seconds"`     // what a power task itself takes
	Respawn  *float64 `json:"respawn_seconds"`  // pause before a command that ended by itself is started again
	Stop     *float64 `json:"stop_seconds"`     // how long a command may take to end before it is killed
}

// machineC is one virtual machine.
type machineC struct {
	timesC
	Name       string            `json:"name"`
	Folder     string            `json:"folder"` // below the datacenter's vm folder, for example standby/web
	Host       string            `json:"host"`
	Power      string            `json:"power"` // on, off or suspended
	Address    string            `json:"ip"`
	Attributes map[string]string `json:"attributes"` // custom attributes
	Tags       map[string]string `json:"tags"`       // tag by category
	CPUs       int32             `json:"cpus"`
	MemoryMB   int64             `json:"memory_mb"`
	Command    []string          `json:"command"`
	Env        map[string]string `json:"env"`
}

func readConfig(path string) (*config, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	result := &config{Listen: "127.0.0.1:0", User: "lowtide", Password: "lowtide"}
	if err := json.Unmarshal(content, result); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, machine := range result.Machines {
		switch machine.Power {
		case "":
			machine.Power = "off"
		case "on", "off", "suspended":
		default:
			return nil, fmt.Errorf("%s: vm %s: power is on, off or suspended, not %q", path, machine.Name, machine.Power)
		}
		machine.complete(result.Defaults)
	}
	return result, nil
}

func (m *machineC) complete(defaults timesC) {
	pick := func(own **float64, common *float64, fallback float64) {
		if *own == nil {
			*own = common
		}
		if *own == nil {
			*own = &fallback
		}
	}
	pick(&m.Boot, defaults.Boot, 2)
	pick(&m.Resume, defaults.Resume, 0.5)
	pick(&m.Shutdown, defaults.Shutdown, 0.5)
	pick(&m.Task, defaults.Task, 0.1)
	pick(&m.Respawn, defaults.Respawn, 0.5)
	pick(&m.Stop, defaults.Stop, 5)
}

// hosts are the ESXi hosts that machines name, in order; one where none does.
func (c *config) hosts() []string {
	names, seen := []string{}, map[string]bool{}
	for _, machine := range c.Machines {
		if machine.Host != "" && !seen[machine.Host] {
			seen[machine.Host] = true
			names = append(names, machine.Host)
		}
	}
	if len(names) == 0 {
		return []string{"esx1"}
	}
	return names
}
