package api

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// benchWaiters are the agents that wait at once.
const benchWaiters = 2000

// waitClient names the process that holds the connections, so that its memory is not the server's.
const waitClient = "RESTIC_MANAGER_BENCH_CLIENT"

// BenchmarkWaitingAgents is the memory of one waiting agent beside that of a bare handler that parks, both after
// a collection: heap and stacks, and what the process holds of the machine (resident set size). Each connection has
// answered one poll before, as those of agents have: the memory that answering takes is not given back at once.
func BenchmarkWaitingAgents(b *testing.B) {
	for _, scheme := range []string{"http", "https"} {
		b.Run(scheme, func(b *testing.B) {
			for b.Loop() {
				bare := bareWaiters(b, scheme)
				ours := ourWaiters(b, scheme)
				b.ReportMetric(ours.inUse, "B/agent")
				b.ReportMetric(bare.inUse, "baseline-B/agent")
				b.ReportMetric(ours.inUse/bare.inUse, "ratio")
				b.ReportMetric(ours.resident, "rss-B/agent")
				b.ReportMetric(bare.resident, "baseline-rss-B/agent")
				b.ReportMetric(ours.resident/bare.resident, "rss-ratio")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// bareWaiters is the baseline.
func bareWaiters(b *testing.B, scheme string) memory {
	var held atomic.Int64
	h := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("wait") == "0" {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"mark":"0123456789abcdef0123456789abcdef"}`)
			return
		}
		held.Add(1)
		defer held.Add(-1)
		<-r.Context().Done()
	})}
	requests := make([][2]string, benchWaiters)
	for i := range requests {
		bearer := "Bearer rma_" + hexOf(32)
		for k, wait := range []string{"0", "60"} {
			requests[i][k] = pollRequest("/api/agents/next-command?wait="+wait+"&boot="+hexOf(16), bearer)
		}
	}
	return memoryOf(b, h, scheme, requests, held.Load)
}

func pollRequest(path, authorization string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: " + authorization + "\r\nRestic-Manager-Protocol: 1\r\n\r\n"
}

func ourWaiters(b *testing.B, scheme string) memory {
	r := newRig(b, "sqlite", nil)
	if err := r.access.EnsureAdmin(b.Context(), adminName, goodSecret); err != nil {
		b.Fatal(err)
	}
	requests := make([][2]string, benchWaiters)
	for i := range requests {
		a := r.enroll(fmt.Sprintf("host-%d", i))
		a.hello()
		for k, wait := range []time.Duration{0, 60 * time.Second} {
			requests[i][k] = pollRequest(a.pollPath(wait), a.as["Authorization"][0])
		}
	}
	r.client.CloseIdleConnections()
	h := &http.Server{}
	r.Attach(h)
	return memoryOf(b, h, scheme, requests, func() int64 {
		st, err := r.fleet.Stats(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		return st.LongPolls
	})
}

// memoryOf serves the requests of another process until all wait, and tells the bytes of each.
func memoryOf(b *testing.B, h *http.Server, scheme string, requests [][2]string, held func() int64) memory {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	h.ErrorLog = log.New(io.Discard, "", 0)
	if scheme == "https" {
		h.TLSConfig = &tls.Config{Certificates: []tls.Certificate{selfSigned(b)}, NextProtos: []string{"http/1.1"}}
		l = tls.NewListener(l, h.TLSConfig)
	}
	go h.Serve(l)
	defer h.Close()
	before := memoryNow(b)
	client := exec.Command(os.Args[0])
	client.Env = append(os.Environ(), waitClient+"="+scheme+" "+l.Addr().String())
	in, err := client.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	client.Stderr = os.Stderr
	if err := client.Start(); err != nil {
		b.Fatal(err)
	}
	defer client.Wait()
	defer in.Close()
	for _, q := range requests {
		fmt.Fprintln(in, base64.StdEncoding.EncodeToString([]byte(q[0])), base64.StdEncoding.EncodeToString([]byte(q[1])))
	}
	deadline := time.Now().Add(45 * time.Second)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for held() < int64(len(requests)) {
		if time.Now().After(deadline) {
			b.Fatalf("%d of %d wait", held(), len(requests))
		}
		<-tick.C
	}
	after, n := memoryNow(b), float64(len(requests))
	return memory{(after.inUse - before.inUse) / n, (after.resident - before.resident) / n}
}

// memory is in bytes.
type memory struct{ inUse, resident float64 }

// memoryNow is the memory of heap and stacks after collections (stacks shrink in the second), and the resident set
// once all that is free is given back.
func memoryNow(b *testing.B) memory {
	for range 4 {
		runtime.GC()
	}
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	raw, err := os.ReadFile("/proc/self/statm") // proc(5): in pages, the second is resident
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(raw))[1])
	if err != nil {
		b.Fatal(err)
	}
	return memory{float64(m.HeapInuse + m.StackInuse), float64(pages * os.Getpagesize())}
}

// holdConnections is the other process: on a connection each it sends a request, reads its answer, sends a second
// one, and keeps them.
func holdConnections(where string) {
	scheme, address, _ := strings.Cut(where, " ")
	var held []net.Conn
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		c, err := net.Dial("tcp", address)
		if err != nil {
			log.Fatal(err)
		}
		if scheme == "https" {
			c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
		}
		for i, word := range strings.Fields(lines.Text()) {
			q, err := base64.StdEncoding.DecodeString(word)
			if err != nil {
				log.Fatal(err)
			}
			if _, err := c.Write(q); err != nil {
				log.Fatal(err)
			}
			if i == 0 {
				readAnswer(c)
			}
		}
		held = append(held, c)
	}
	for _, c := range held {
		c.Close()
	}
}

func readAnswer(c net.Conn) {
	a, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		log.Fatal(err)
	}
	if body, err := io.ReadAll(a.Body); err != nil || a.StatusCode != 200 {
		log.Fatalf("got %d %s, %v", a.StatusCode, body, err)
	}
}

func selfSigned(b *testing.B) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"x"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		b.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
