// Copyright: The Lowtide authors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// point is a moment (epoch seconds) and the value a counter has from then on, in the counter's own unit.
type point [2]float64

// load is what tests say the machines carry: machine -> counter (such as cpu.usage.average) -> points.
type load struct {
	mu     sync.Mutex
	points map[string]map[string][]point
}

func newLoad() *load { return &load{points: map[string]map[string][]point{}} }

func (l *load) set(wanted map[string]map[string][]point) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for machine, counters := range wanted {
		if l.points[machine] == nil {
			l.points[machine] = map[string][]point{}
		}
		for counter, points := range counters {
			sort.Slice(points, func(i, j int) bool { return points[i][0] < points[j][0] })
			l.points[machine][counter] = points
		}
	}
}

// at is the value at a moment; there is none before the first point, and none for a counter nobody set.
func (l *load) at(machine, counter string, moment time.Time) (int64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	points := l.points[machine][counter]
	after := sort.Search(len(points), func(i int) bool { return points[i][0] > float64(moment.Unix()) })
	if after == 0 {
		return 0, false
	}
	return int64(points[after-1][1]), true
}

// performance answers QueryPerf from the load, oldest sample first.
type performance struct {
	simulator.PerformanceManager
	center   *center
	counters map[int32]string
}

// installPerformance puts it in place of the simulator's own, which answers at random and newest first.
func installPerformance(c *center) {
	reference := *simulator.Map.Get(
		types.ManagedObjectReference{Type: "ServiceInstance", Value: "ServiceInstance"},
	).(*simulator.ServiceInstance).Content.PerfManager
	own := &performance{center: c, counters: map[int32]string{}}
	own.PerformanceManager = *simulator.Map.Get(reference).(*simulator.PerformanceManager)
	for _, info := range own.PerfCounter {
		own.counters[info.Key] = fmt.Sprintf("%s.%s.%s",
			info.GroupInfo.GetElementDescription().Key, info.NameInfo.GetElementDescription().Key, info.RollupType)
	}
	simulator.Map.Put(own)
}

// realtime is the interval of the samples that a host keeps for an hour; the first sample asked for is newer than the
// start, the last one not newer than the end.
const realtime = 20

func (p *performance) QueryPerf(ctx *simulator.Context, req *types.QueryPerf) soap.HasFault {
	body := &methods.QueryPerfBody{Res: &types.QueryPerfResponse{}}
	now := time.Now()
	for _, spec := range req.QuerySpec {
		machine := p.center.byRef[spec.Entity]
		if machine == nil {
			body.Res = nil
			body.Fault_ = simulator.Fault("", &types.InvalidArgument{InvalidProperty: "entity"})
			return body
		}
		body.Res.Returnval = append(body.Res.Returnval, p.query(machine.config.Name, spec, now))
	}
	return body
}

func (p *performance) query(machine string, spec types.PerfQuerySpec, now time.Time) types.BasePerfEntityMetricBase {
	interval := spec.IntervalId
	if interval <= 0 {
		interval = realtime
	}
	moments := p.moments(machine, spec, interval, now)
	infos := make([]types.PerfSampleInfo, len(moments))
	for i, moment := range moments {
		infos[i] = types.PerfSampleInfo{Timestamp: moment, Interval: interval}
	}
	series := []types.BasePerfMetricSeries{}
	for _, id := range spec.MetricId {
		values := make([]int64, len(moments))
		any := false
		for i, moment := range moments {
			value, known := p.center.load.at(machine, p.counters[id.CounterId], moment)
			if !known {
				value = -1 // vCenter's mark of a sample that is missing
			}
			values[i], any = value, any || known
		}
		if any {
			series = append(series, &types.PerfMetricIntSeries{
				PerfMetricSeries: types.PerfMetricSeries{Id: types.PerfMetricId{CounterId: id.CounterId}}, Value: values,
			})
		}
	}
	if spec.Format == string(types.PerfFormatCsv) {
		return asCSV(spec.Entity, infos, series)
	}
	return &types.PerfEntityMetric{
		PerfEntityMetricBase: types.PerfEntityMetricBase{Entity: spec.Entity}, SampleInfo: infos, Value: series,
	}
}

// moments are the stamps of the samples asked for, oldest first.
func (p *performance) moments(machine string, spec types.PerfQuerySpec, interval int32, now time.Time) []time.Time {
	step := int64(interval)
	end, oldest := now, now.Add(-time.Hour)
	if step != realtime {
		oldest = now.Add(-365 * 24 * time.Hour)
	}
	if spec.EndTime != nil && spec.EndTime.Before(now) {
		end = *spec.EndTime
	}
	start := oldest
	if spec.StartTime != nil && spec.StartTime.After(oldest) {
		start = *spec.StartTime
	}
	last := end.Unix() / step * step
	first := (start.Unix()/step + 1) * step
	if first > last {
		return nil
	}
	count := (last-first)/step + 1
	if spec.MaxSample > 0 && count > int64(spec.MaxSample) {
		first = last - (int64(spec.MaxSample)-1)*step
	}
	moments := []time.Time{}
	for stamp := first; stamp <= last; stamp += step {
		moments = append(moments, time.Unix(stamp, 0).UTC())
	}
	return p.known(machine, spec, moments)
}

// known leaves out the samples from before the first point of every counter asked for.
func (p *performance) known(machine string, spec types.PerfQuerySpec, moments []time.Time) []time.Time {
	first := sort.Search(len(moments), func(i int) bool {
		for _, id := range spec.MetricId {
			if _, ok := p.center.load.at(machine, p.counters[id.CounterId], moments[i]); ok {
				return true
			}
		}
		return false
	})
	return moments[first:]
}

func asCSV(
	entity types.ManagedObjectReference, infos []types.PerfSampleInfo, series []types.BasePerfMetricSeries,
) types.BasePerfEntityMetricBase {
	stamps := []string{}
	for _, info := range infos {
		stamps = append(stamps, strconv.Itoa(int(info.Interval)), info.Timestamp.Format("2006-01-02T15:04:05Z"))
	}
	result := &types.PerfEntityMetricCSV{
		PerfEntityMetricBase: types.PerfEntityMetricBase{Entity: entity}, SampleInfoCSV: strings.Join(stamps, ","),
	}
	for _, item := range series {
		values := []string{}
		ints := item.(*types.PerfMetricIntSeries)
		for _, value := range ints.Value {
			values = append(values, strconv.FormatInt(value, 10))
		}
		result.Value = append(result.Value, types.PerfMetricSeriesCSV{
			PerfMetricSeries: ints.PerfMetricSeries, Value: strings.Join(values, ","),
		})
	}
	return result
}
