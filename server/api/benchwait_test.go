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
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// benchWaiters are the agents that wait at once.
const benchWaiters = 2000

// waitClient names the process that holds the connections, so that its memory is not the server's.
const waitClient = "RESTIC_MANAGER_BENCH_CLIENT"

// BenchmarkWaitingAgents is the memory of one waiting agent beside that of a bare handler that parks, both
// after a collection: heap and stacks.
func BenchmarkWaitingAgents(b *testing.B) {
	for _, scheme := range []string{"http", "https"} {
		b.Run(scheme, func(b *testing.B) {
			for b.Loop() {
				bare := bareWaiters(b, scheme)
				ours := ourWaiters(b, scheme)
				b.ReportMetric(ours, "B/agent")
				b.ReportMetric(bare, "baseline-B/agent")
				b.ReportMetric(ours/bare, "ratio")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// bareWaiters is the baseline.
func bareWaiters(b *testing.B, scheme string) float64 {
	var held atomic.Int64
	h := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		held.Add(1)
		defer held.Add(-1)
		<-r.Context().Done()
	})}
	requests := make([]string, benchWaiters)
	for i := range requests {
		requests[i] = "GET /api/agents/next-command?wait=60&boot=" + hexOf(16) + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer rma_" + hexOf(32) + "\r\nRestic-Manager-Protocol: 1\r\n\r\n"
	}
	return memoryOf(b, h, scheme, requests, held.Load)
}

func ourWaiters(b *testing.B, scheme string) float64 {
	r := newRig(b, "sqlite", nil)
	if err := r.access.EnsureAdmin(b.Context(), adminName, goodSecret); err != nil {
		b.Fatal(err)
	}
	requests := make([]string, benchWaiters)
	for i := range requests {
		a := r.enroll(fmt.Sprintf("host-%d", i))
		a.hello()
		requests[i] = "GET " + a.pollPath(60*time.Second) + " HTTP/1.1\r\nHost: x\r\nAuthorization: " + a.as["Authorization"][0] + "\r\nRestic-Manager-Protocol: 1\r\n\r\n"
	}
	http.DefaultClient.CloseIdleConnections()
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
func memoryOf(b *testing.B, h *http.Server, scheme string, requests []string, held func() int64) float64 {
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
	before := inUse()
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
		fmt.Fprintln(in, base64.StdEncoding.EncodeToString([]byte(q)))
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
	return float64(inUse()-before) / float64(len(requests))
}

// inUse is the memory of heap and stacks after collections: stacks shrink in the second.
func inUse() int64 {
	for range 4 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// holdConnections is the other process: it sends a request on a connection each, and keeps them.
func holdConnections(where string) {
	scheme, address, _ := strings.Cut(where, " ")
	var held []net.Conn
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		q, err := base64.StdEncoding.DecodeString(lines.Text())
		if err != nil {
			log.Fatal(err)
		}
		c, err := net.Dial("tcp", address)
		if err != nil {
			log.Fatal(err)
		}
		if scheme == "https" {
			c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
		}
		if _, err := c.Write(q); err != nil {
			log.Fatal(err)
		}
		held = append(held, c)
	}
	for _, c := range held {
		c.Close()
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
