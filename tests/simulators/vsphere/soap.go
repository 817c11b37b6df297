// Copyright: The Lowtide authors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"reflect"

	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

// call is what a SOAP request asks: a method of an object.
type call struct {
	method  string
	this    types.ManagedObjectReference
	session string
}

// readCall parses as much of a request as is needed to route it.
func readCall(r *http.Request, body []byte) *call {
	var envelope struct {
		Body struct {
			Content struct {
				XMLName xml.Name
				This    types.ManagedObjectReference `xml:"_this"`
			} `xml:",any"`
		} `xml:"Body"`
	}
	result := &call{}
	if err := xml.Unmarshal(body, &envelope); err == nil {
		result.method, result.this = envelope.Body.Content.XMLName.Local, envelope.Body.Content.This
	}
	if cookie, err := r.Cookie(soap.SessionCookieName); err == nil {
		result.session = cookie.Value
	}
	return result
}

const (
	envelopeStart = xml.Header + `<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"` +
		` xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">` +
		`<soapenv:Body>`
	envelopeEnd = `</soapenv:Body></soapenv:Envelope>`
)

func write(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, envelopeStart+body+envelopeEnd)
}

func writeTask(w http.ResponseWriter, method string, task types.ManagedObjectReference) {
	write(w, http.StatusOK, fmt.Sprintf(`<%sResponse xmlns="urn:vim25"><returnval type="Task">%s</returnval></%sResponse>`,
		method, task.Value, method))
}

func writeEmpty(w http.ResponseWriter, response string) {
	write(w, http.StatusOK, fmt.Sprintf(`<%s xmlns="urn:vim25"></%s>`, response, response))
}

func writeFault(w http.ResponseWriter, message string, fault types.BaseMethodFault) {
	name := reflect.TypeOf(fault).Elem().Name()
	var detail, text bytes.Buffer
	start := xml.StartElement{Name: xml.Name{Local: name + "Fault"}, Attr: []xml.Attr{
		{Name: xml.Name{Local: "xmlns"}, Value: "urn:vim25"},
		{Name: xml.Name{Local: "xsi:type"}, Value: name},
	}}
	if err := xml.NewEncoder(&detail).EncodeElement(fault, start); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	xml.EscapeText(&text, []byte(message))
	write(w, http.StatusInternalServerError, `<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>`+
		text.String()+`</faultstring><detail>`+detail.String()+`</detail></soapenv:Fault>`)
}
