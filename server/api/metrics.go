package api

import (
	"context"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"restic-manager/server/fleet"
)

// metrics are the server's figures, in a registry of their own.
type metrics struct {
	registry   *prometheus.Registry
	requests   *prometheus.CounterVec
	durations  *prometheus.HistogramVec
	logLines   prometheus.Counter
	logBytes   prometheus.Counter
	violations prometheus.Counter
}

const namespace = "restic_manager"

func newMetrics(f *fleet.Store, version string) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: "http_requests_total",
			Help: "Requests answered; code 0: the client went away."}, []string{"method", "route", "code"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: "http_request_seconds",
			Help: "How long answers took, those that wait left out.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 8)}, []string{"method", "route"}),
		logLines:   counter("log_lines_total", "Log lines stored by this replica."),
		logBytes:   counter("log_bytes_total", "Bytes of those lines before compression."),
		violations: counter("invariant_violations_total", "Broken invariants that the hourly check found; anything above 0 is a defect worth reporting."),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: "build_info", Help: "Always 1.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()}})
	build.Set(1)
	m.registry.MustRegister(m.requests, m.durations, m.logLines, m.logBytes, m.violations, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if f != nil {
		m.registry.MustRegister(&fleetCollector{fleet: f})
	}
	return m
}

// CountViolations adds to the broken invariants that were found.
func (s *Server) CountViolations(n int) {
	s.violations.Store(int64(n))
	s.metrics.violations.Add(float64(n))
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, Timeout: 20 * time.Second})
}

// observe counts one answer. Patterns, never paths: a label per id would grow without end.
func (m *metrics) observe(r *Route, pattern string, code int, took time.Duration) {
	method := "other"
	if r != nil {
		method = r.Method
	}
	m.requests.WithLabelValues(method, pattern, strconv.Itoa(code)).Inc()
	if r != nil && !r.waits {
		m.durations.WithLabelValues(method, pattern).Observe(took.Seconds())
	}
}

// fleetCollector asks the fleet when somebody looks.
type fleetCollector struct{ fleet *fleet.Store }

func describeMetric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

var (
	descUp         = describeMetric("up", "1 when the database could be asked for the figures below.")
	descHosts      = describeMetric("hosts", "Hosts by status.", "status")
	descAlarms     = describeMetric("clone_alarms", "Hosts whose identity two machines use.")
	descJobs       = describeMetric("jobs", "Jobs that have not ended, by kind and state.", "kind", "state")
	descEnded      = describeMetric("jobs_ended_total", "Jobs that ended at this replica, by kind and state.", "kind", "state")
	descQueue      = describeMetric("queue_depth", "Jobs that wait for their host.")
	descOldest     = describeMetric("queue_oldest_seconds", "Age of the oldest job that waits; 0 when none does.")
	descPolls      = describeMetric("long_polls_held", "Agents that wait at this replica.")
	descDispatch   = describeMetric("dispatch_seconds", "From queued to offered, for jobs of online hosts.")
	descOffline    = describeMetric("offline_sweeps_total", "Hosts that this replica's sweeper found gone.")
	descRequeues   = describeMetric("requeues_total", "Accepted jobs that never started and were queued again.")
	allDescs       = []*prometheus.Desc{descUp, descHosts, descAlarms, descJobs, descEnded, descQueue, descOldest, descPolls, descDispatch, descOffline, descRequeues}
	hostStatuses   = []string{"never_seen", "online", "offline", "revoked"}
	gauge, counted = prometheus.GaugeValue, prometheus.CounterValue
)

// Describe serves prometheus.
func (c *fleetCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range allDescs {
		out <- d
	}
}

// Collect serves prometheus. With the database away the rest of the metrics still come.
func (c *fleetCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	st, err := c.fleet.Stats(ctx)
	if err != nil {
		send(descUp, gauge, 0)
		return
	}
	send(descUp, gauge, 1)
	for _, status := range hostStatuses {
		send(descHosts, gauge, float64(st.HostsByStatus[status]), status)
	}
	send(descAlarms, gauge, float64(st.CloneAlarms))
	for _, j := range st.OpenJobs {
		send(descJobs, gauge, float64(j.Count), string(j.Kind), string(j.State))
	}
	for _, j := range st.EndedJobs {
		send(descEnded, counted, float64(j.Count), string(j.Kind), string(j.State))
	}
	send(descQueue, gauge, float64(st.QueueDepth))
	send(descOldest, gauge, st.OldestQueuedAge.Seconds())
	send(descPolls, gauge, float64(st.LongPolls))
	send(descOffline, counted, float64(st.OfflineSweeps))
	send(descRequeues, counted, float64(st.Requeues))
	buckets := map[float64]uint64{}
	for _, b := range st.Dispatch {
		buckets[b.UpTo.Seconds()] = b.Count
	}
	out <- prometheus.MustNewConstHistogram(descDispatch, st.DispatchCount, st.DispatchSeconds, buckets)
}
