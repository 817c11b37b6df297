// Copyright: The Lowtide authors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"time"

	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// fault is something that goes wrong on demand. Kinds:
//
//	refuse           the call is answered with a fault (NotEnoughLicenses), nothing is done
//	task_error       the power task that the call starts ends in error
//	lose_reply       the call is carried out, and the connection closed instead of answered
//	drop_connection  the connection is closed, nothing is done
//	hang             no answer for `seconds`, then the connection is closed; nothing is done
//	expire_session   every session ends, the call is answered with NotAuthenticated
//	unavailable      this and all calls are answered with HTTP 503 for `seconds`, and sessions are lost
//	slow             the answer takes `seconds` longer
//	no_tools         the guest of the machine never gets its tools running, from its next boot on
//	hung_guest       the guest ignores a request to shut down
type fault struct {
	Kind    string  `json:"kind"`
	Machine string  `json:"vm"`     // name or pattern; empty for any, also for calls that are not about a machine
	Method  string  `json:"method"` // SOAP method; empty for the power methods, or any method when vm is empty too
	Times   int     `json:"times"`  // how often; 0 means until cleared
	Seconds float64 `json:"seconds"`
}

func (f *fault) matches(call *call, machine string) bool {
	if f.Method != "" && f.Method != call.method {
		return false
	}
	if f.Method == "" && (f.Machine != "" || f.Kind == "refuse" || f.Kind == "task_error") && powerMethods[call.method] == "" {
		return false
	}
	if f.Machine == "" {
		return true
	}
	ok, _ := path.Match(f.Machine, machine)
	return ok
}

// due takes the first fault that a call meets, and counts it.
func (c *center) due(call *call) *fault {
	machine := ""
	if m := c.byRef[call.this]; m != nil {
		machine = m.config.Name
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for index, f := range c.faults {
		if !f.matches(call, machine) {
			continue
		}
		if f.Times > 0 {
			f.Times--
			if f.Times == 0 {
				c.faults = append(c.faults[:index:index], c.faults[index+1:]...)
			}
		}
		return f
	}
	return nil
}

func (c *center) addFault(f *fault) {
	if f.Kind == "no_tools" || f.Kind == "hung_guest" {
		for name, m := range c.machines {
			if ok, _ := path.Match(f.Machine, name); ok {
				m.mu.Lock()
				m.noTools, m.hung = m.noTools || f.Kind == "no_tools", m.hung || f.Kind == "hung_guest"
				m.mu.Unlock()
			}
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, f)
}

func (c *center) clearFaults() {
	for _, m := range c.machines {
		m.mu.Lock()
		m.noTools, m.hung = false, false
		m.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults, c.away = nil, time.Time{}
}

func (c *center) expireSessions() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sessions = map[string]bool{}
}

func (c *center) unavailable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Before(c.away)
}

// ServeHTTP is the way of every request: faults first, then sessions, then power calls, then the simulator.
func (c *center) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	call := &call{}
	if r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/sdk") {
		call = readCall(r, body)
	}
	c.mu.Lock()
	c.calls[call.method]++
	c.mu.Unlock()
	if c.unavailable() {
		http.Error(w, "503 Service Unavailable", http.StatusServiceUnavailable)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	f := c.due(call)
	if f == nil {
		c.serve(w, r, call, nil)
		return
	}
	c.misbehave(w, r, call, f)
}

func (c *center) misbehave(w http.ResponseWriter, r *http.Request, call *call, f *fault) {
	switch f.Kind {
	case "refuse":
		if m := c.byRef[call.this]; m != nil {
			c.record(m.config.Name, call.method, "refused")
		}
		writeFault(w, "There are not enough licenses installed to perform the operation.", &types.NotEnoughLicenses{})
	case "task_error":
		c.serve(w, r, call, &types.GenericVmConfigFault{Reason: "Module 'Disk' power on failed."})
	case "lose_reply":
		c.serve(httptest.NewRecorder(), r, call, nil)
		panic(http.ErrAbortHandler)
	case "drop_connection":
		panic(http.ErrAbortHandler)
	case "hang":
		select {
		case <-time.After(duration(f.Seconds)):
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	case "expire_session":
		c.expireSessions()
		c.serve(w, r, call, nil)
	case "unavailable":
		c.expireSessions()
		c.mu.Lock()
		c.away = time.Now().Add(duration(f.Seconds))
		c.mu.Unlock()
		http.Error(w, "503 Service Unavailable", http.StatusServiceUnavailable)
	case "slow":
		time.Sleep(duration(f.Seconds))
		c.serve(w, r, call, nil)
	default:
		http.Error(w, "unknown fault "+f.Kind, http.StatusInternalServerError)
	}
}

// openMethods need no session.
var openMethods = map[string]bool{"RetrieveServiceContent": true, "Login": true}

func (c *center) serve(w http.ResponseWriter, r *http.Request, call *call, taskFault types.BaseMethodFault) {
	if call.method == "" { // the list of API versions, and the REST interface, which has sessions of its own
		if user, password, ok := r.BasicAuth(); ok && (user != c.config.User || password != c.config.Password) {
			http.Error(w, "", http.StatusUnauthorized)
			return
		}
		c.inner.ServeHTTP(w, r)
		return
	}
	c.mu.Lock()
	known := c.sessions[call.session]
	c.mu.Unlock()
	if !known {
		r.Header.Del("Cookie") // the simulator refuses a login that brings an old session along
		if !openMethods[call.method] {
			writeFault(w, "The session is not authenticated.", &types.NotAuthenticated{
				NoPermission: types.NoPermission{Object: call.this, PrivilegeId: "System.View"},
			})
			return
		}
	}
	if powerMethods[call.method] != "" {
		c.servePower(w, call, taskFault)
		return
	}
	c.inner.ServeHTTP(w, r)
	c.follow(w, call)
}

// follow keeps the list of sessions.
func (c *center) follow(w http.ResponseWriter, call *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if call.method == "Logout" {
		delete(c.sessions, call.session)
	}
	for _, cookie := range (&http.Response{Header: w.Header()}).Cookies() {
		if cookie.Name == soap.SessionCookieName {
			c.sessions[cookie.Value] = true
		}
	}
}
