// Copyright: The Lowtide authors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// A vCenter to test against: the govmomi simulator, served over TLS, with virtual machines that take time to boot,
// run a command while they are up, and fail on demand.
//
// Usage: vsphere CONFIG.json. It prints one JSON line with its addresses when it answers, and ends on SIGTERM, SIGINT,
// or when its standard input is closed.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/vmware/govmomi/simulator"
	_ "github.com/vmware/govmomi/vapi/simulator" // serves tags
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: vsphere CONFIG.json")
		os.Exit(2)
	}
	config, err := readConfig(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	if err := run(config); err != nil {
		log.Fatal(err)
	}
}

func run(config *config) error {
	certificate, err := tls.LoadX509KeyPair(config.Certificate, config.Key)
	if err != nil {
		return err
	}
	if !config.Verbose {
		log.SetOutput(io.Discard) // govmomi logs every update; errors of our own go to standard error
	}
	model := simulator.VPX()
	model.Machine, model.ClusterHost, model.Host = 0, len(config.hosts()), 0
	if err := model.Create(); err != nil {
		return err
	}
	defer model.Remove()
	// govmomi insists on a server of its own. It gets a port that nobody is told, and user and password.
	model.Service.Listen = &url.URL{Host: "127.0.0.1:0", User: url.UserPassword(config.User, config.Password)}
	model.Service.RegisterEndpoints = true
	inner := model.Service.NewServer()
	defer inner.Close()

	center := newCenter(config, inner.Config.Handler)
	if err := center.populate(context.Background(), model.Service); err != nil {
		return err
	}
	installPerformance(center)

	public, err := newDoor(config.Listen, &tls.Config{Certificates: []tls.Certificate{certificate}}, center)
	if err != nil {
		return err
	}
	control, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go http.Serve(control, center.control(public))

	ready, _ := json.Marshal(map[string]string{
		"address": public.address, "control": "http://" + control.Addr().String(),
	})
	fmt.Println(string(ready))

	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	if config.EndWithInput {
		go func() {
			io.Copy(io.Discard, os.Stdin)
			end <- syscall.SIGTERM
		}()
	}
	<-end
	public.close()
	center.stop()
	return nil
}

// door is the listener that clients see. It can be shut for a while, as when vCenter restarts.
type door struct {
	address string
	tls     *tls.Config
	handler http.Handler
	server  *http.Server
}

func newDoor(address string, config *tls.Config, handler http.Handler) (*door, error) {
	d := &door{address: address, tls: config, handler: handler}
	return d, d.open()
}

func (d *door) open() error {
	listener, err := net.Listen("tcp", d.address)
	if err != nil {
		return err
	}
	d.address = listener.Addr().String()
	// HTTP/1.1 only, as a fault may have to take the connection away.
	d.server = &http.Server{Handler: d.handler, ErrorLog: log.New(io.Discard, "", 0)}
	config := d.tls.Clone()
	config.NextProtos = []string{"http/1.1"}
	go d.server.Serve(tls.NewListener(listener, config))
	return nil
}

func (d *door) close() { d.server.Close() }

// shut refuses connections for a while.
func (d *door) shut(seconds float64) {
	d.close()
	time.AfterFunc(duration(seconds), func() {
		if err := d.open(); err != nil {
			fmt.Fprintln(os.Stderr, "cannot listen again:", err)
		}
	})
}

func duration(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }
