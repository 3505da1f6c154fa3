package metric

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Requests counts the answers of the REST API. Its labels are an HTTP method, a path template and a status. So their
// number is bounded, whatever clients send. Safe for concurrent use. Use NewRequests; the zero Requests panics.
type Requests struct {
	total    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight prometheus.Gauge
	counted  sync.Map // by answerLabels: *answerCounts
}

// answerLabels are the labels of an answer.
type answerLabels struct {
	method, route string
	status        int
}

// answerCounts are what has the labels, so that it is looked up once.
type answerCounts struct {
	total   prometheus.Counter
	seconds prometheus.Observer
}

// NewRequests returns a counter for Sources.
func NewRequests() *Requests {
	return &Requests{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "http_requests_total", Help: "Requests answered, by method, route and status.",
		}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: prefix + "http_request_seconds", Help: "Time from the header of a request to the end of its answer. An event stream counts when it ends.",
			Buckets: []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30},
		}, []string{"method", "route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: prefix + "http_requests_in_flight", Help: "Requests being answered, event streams included.",
		}),
	}
}

func (r *Requests) collectors() []prometheus.Collector {
	return []prometheus.Collector{r.total, r.seconds, r.inFlight}
}

// Begin counts a request that has started. Each Begin needs one End.
func (r *Requests) Begin() { r.inFlight.Inc() }

// methods are the methods that a route can have. Every other method is "other".
var methods = map[string]bool{
	"GET": true, "HEAD": true, "POST": true, "PUT": true, "PATCH": true, "DELETE": true, "OPTIONS": true, "LIST": true, "SCAN": true,
}

// End counts the answer of a request. route is the path template, or "" for a path that no route has.
func (r *Requests) End(method, route string, status int, took time.Duration) {
	r.inFlight.Dec()
	if !methods[method] {
		method = "other"
	}
	if route == "" {
		route = "none"
	}
	c := r.countsOf(answerLabels{method, route, status})
	c.total.Inc()
	c.seconds.Observe(took.Seconds())
}

func (r *Requests) countsOf(l answerLabels) *answerCounts {
	if c, ok := r.counted.Load(l); ok {
		return c.(*answerCounts)
	}
	c := &answerCounts{
		total:   r.total.WithLabelValues(l.method, l.route, strconv.Itoa(l.status)),
		seconds: r.seconds.WithLabelValues(l.method, l.route),
	}
	r.counted.Store(l, c)
	return c
}
