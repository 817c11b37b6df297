// Copyright: The Lowtide authors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"encoding/json"
	"net/http"

	"github.com/vmware/govmomi/simulator"
)

// machineState is what the control interface tells about a machine.
type machineState struct {
	Power   string `json:"power"`
	Tools   bool   `json:"tools"`
	Address string `json:"ip"`
	Pid     int    `json:"pid"` // of its command, 0 when that does not run
}

// control is the interface for tests: what happened, and what shall go wrong. It is on a port of its own.
func (c *center) control(public *door) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/vms", func(w http.ResponseWriter, r *http.Request) { answer(w, c.states()) })
	mux.HandleFunc("/history", func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		answer(w, append([]event{}, c.history...))
	})
	mux.HandleFunc("/calls", func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		answer(w, c.calls)
	})
	mux.HandleFunc("/forget", func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.history, c.calls = nil, map[string]int{}
		answer(w, true)
	})
	mux.HandleFunc("/faults", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			c.clearFaults()
			answer(w, true)
			return
		}
		var faults []*fault
		if ask(w, r, &faults) {
			for _, f := range faults {
				c.addFault(f)
			}
			answer(w, true)
		}
	})
	mux.HandleFunc("/power", func(w http.ResponseWriter, r *http.Request) {
		var wanted map[string]string
		if !ask(w, r, &wanted) {
			return
		}
		for name, word := range wanted {
			m := c.machines[name]
			if m == nil || powerStates[word] == "" {
				http.Error(w, "unknown machine or state: "+name+" "+word, http.StatusBadRequest)
				return
			}
			if m.power() != word {
				m.become(word)
			}
		}
		answer(w, true)
	})
	mux.HandleFunc("/load", func(w http.ResponseWriter, r *http.Request) {
		var wanted map[string]map[string][]point
		if ask(w, r, &wanted) {
			c.load.set(wanted)
			answer(w, true)
		}
	})
	mux.HandleFunc("/expire", func(w http.ResponseWriter, r *http.Request) {
		c.expireSessions()
		answer(w, true)
	})
	mux.HandleFunc("/shut", func(w http.ResponseWriter, r *http.Request) {
		var seconds float64
		if ask(w, r, &seconds) {
			c.expireSessions()
			public.shut(seconds)
			answer(w, true)
		}
	})
	return mux
}

func (c *center) states() map[string]machineState {
	result := map[string]machineState{}
	for name, m := range c.machines {
		state := machineState{Power: m.power()}
		simulator.Map.WithLock(m.vm, func() {
			state.Tools = m.vm.Guest.ToolsRunningStatus == "guestToolsRunning"
			state.Address = m.vm.Guest.IpAddress
		})
		m.mu.Lock()
		state.Pid = m.pid
		m.mu.Unlock()
		result[name] = state
	}
	return result
}

func ask(w http.ResponseWriter, r *http.Request, into interface{}) bool {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func answer(w http.ResponseWriter, value interface{}) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(value)
}
