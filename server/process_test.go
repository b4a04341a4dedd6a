package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// eventually asks every 20 ms for up to 2 minutes: for what another process or a real clock decides.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within 2 minutes: %s", what)
		case <-tick.C:
		}
	}
}

// process is the program as a process of its own.
type process struct {
	*exec.Cmd
	out  buffer
	done chan struct{}
}

func startProgram(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(self, args...), done: make(chan struct{})}
	p.Env = append([]string{"RESTIC_MANAGER_TEST_AS_PROGRAM=1"}, env...)
	p.Stdout, p.Stderr = &p.out, &p.out
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.Wait(); close(p.done) }()
	t.Cleanup(func() {
		_ = p.Process.Kill() // may have ended
		<-p.done
		if t.Failed() {
			t.Logf("the program said:\n%s", &p.out)
		}
	})
	return p
}

var serving = regexp.MustCompile(`"msg":"serving","url":"([^"]+)"`)

// url waits until the program serves.
func (p *process) url(t *testing.T) string {
	t.Helper()
	var url string
	eventually(t, "the program serves", func() bool {
		select {
		case <-p.done:
			t.Fatalf("the program ended:\n%s", &p.out)
		default:
		}
		m := serving.FindStringSubmatch(p.out.String())
		if m != nil {
			url = m[1]
		}
		return m != nil
	})
	return url
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func TestSIGTERMLetsRequestsFinishAndExitsWithZero(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			p := startProgram(t, nil, "serve", "--listen=127.0.0.1:0", "--data-dir="+t.TempDir())
			addr := strings.TrimPrefix(p.url(t), "http://")
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			body := `{"code":"x","username":"ann","password":"four unusual words"}`
			fmt.Fprintf(conn, "POST /api/setup HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", addr, len(body))
			answers := bufio.NewReader(conn)
			if line, err := answers.ReadString('\n'); err != nil || !strings.Contains(line, "100") {
				t.Fatalf("got %q, %v; want 100 Continue: the request is being served", line, err)
			}
			if _, err := answers.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			p.signal(t, sig)
			eventually(t, "the listener has closed", func() bool {
				c, err := net.Dial("tcp", addr)
				if err == nil {
					c.Close()
				}
				return err != nil
			})
			fmt.Fprint(conn, body)
			answer, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatalf("the request that was running: %v", err)
			}
			_, _ = io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
			if answer.StatusCode != http.StatusForbidden {
				t.Errorf("the request that was running: got %s, want its own answer", answer.Status)
			}
			start := time.Now()
			<-p.done
			if code := p.ProcessState.ExitCode(); code != 0 || time.Since(start) > 10*time.Second {
				t.Errorf("got exit code %d after %v, want 0 within 10 s", code, time.Since(start))
			}
		})
	}
}

func TestAClientThatNeverEndsDoesNotHoldTheServer(t *testing.T) {
	p := startProgram(t, nil, "serve", "--listen=127.0.0.1:0", "--data-dir="+t.TempDir())
	addr := strings.TrimPrefix(p.url(t), "http://")
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /api/setup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n")
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "100") {
		t.Fatalf("got %q, %v", line, err)
	}
	p.signal(t, syscall.SIGTERM)
	start := time.Now()
	<-p.done
	if code := p.ProcessState.ExitCode(); code != 0 || time.Since(start) > 10*time.Second {
		t.Errorf("got exit code %d after %v, want 0 within 10 s", code, time.Since(start))
	}
}

func TestFilesAreNobodyElsesToRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, nil, "serve", "--listen=127.0.0.1:0", "--data-dir="+dir)
	p.url(t)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < 3 {
		t.Fatal(entries, err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // SQLite's own files come and go
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
	}
}

// writePair makes a certificate of that serial number.
func writePair(t *testing.T, dir string, serial int64) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func serial(addr string, highest uint16) (int64, error) {
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: highest})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64(), nil
}

func TestACertificateIsReadAgainAtSIGHUPAndABadOneIsNot(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, 1)
	p := startProgram(t, nil, "serve", "--listen=127.0.0.1:0", "--data-dir="+t.TempDir(), "--tls-cert="+cert, "--tls-key="+key)
	addr := strings.TrimPrefix(p.url(t), "https://")
	if got, err := serial(addr, tls.VersionTLS12); err != nil || got != 1 {
		t.Fatalf("TLS 1.2: got certificate %d, %v", got, err)
	}
	if _, err := serial(addr, tls.VersionTLS11); err == nil {
		t.Error("TLS 1.1 was spoken")
	}
	writePair(t, dir, 2)
	p.signal(t, syscall.SIGHUP)
	eventually(t, "the new certificate is served", func() bool { got, err := serial(addr, tls.VersionTLS13); return err == nil && got == 2 })
	if err := os.WriteFile(cert, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.signal(t, syscall.SIGHUP)
	eventually(t, "the log tells of the bad one", func() bool { return strings.Contains(p.out.String(), "the certificate stays as it was") })
	if got, err := serial(addr, tls.VersionTLS13); err != nil || got != 2 {
		t.Errorf("after a bad one: got certificate %d, %v; want 2", got, err)
	}
}

func TestSIGHUPWithoutACertificateChangesNothing(t *testing.T) {
	p := startProgram(t, nil, "serve", "--listen=127.0.0.1:0", "--data-dir="+t.TempDir())
	url := p.url(t)
	p.signal(t, syscall.SIGHUP)
	eventually(t, "it is told", func() bool { return strings.Contains(p.out.String(), "no certificate to read again") })
	answer, err := http.Get(url + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != 200 {
		t.Errorf("got %s", answer.Status)
	}
}

func TestSystemdIsToldOfStartLifeAndStop(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	said := make(chan string, 1000)
	go func() {
		defer close(said)
		b := make([]byte, 4096)
		for {
			n, err := socket.Read(b)
			if err != nil {
				return
			}
			said <- string(b[:n])
		}
	}()
	p := startProgram(t, []string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=200000"}, "serve", "--listen=127.0.0.1:0", "--data-dir="+t.TempDir())
	limit := time.NewTimer(2 * time.Minute)
	defer limit.Stop()
	hear := func(want string) (before []string) {
		t.Helper()
		for {
			select {
			case s := <-said:
				if strings.Contains(s, want) {
					return before
				}
				before = append(before, s)
			case <-limit.C:
				t.Fatalf("systemd was not told %s, only %q", want, before)
			}
		}
	}
	for _, s := range hear("READY=1") {
		if !strings.HasPrefix(s, "STATUS=") {
			t.Errorf("before it was ready it said %q", s)
		}
	}
	for range 3 {
		hear("WATCHDOG=1")
	}
	p.signal(t, syscall.SIGTERM)
	hear("STOPPING=1")
	<-p.done
	if code := p.ProcessState.ExitCode(); code != 0 {
		t.Errorf("got exit code %d, want 0", code)
	}
}

func TestAHangingServerGivesNoSignOfLife(t *testing.T) {
	hang := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	if answers(t.Context(), hang, 10*time.Millisecond) {
		t.Error("a server that hangs counts as alive")
	}
	fail := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	if answers(t.Context(), fail, time.Minute) {
		t.Error("a server that fails counts as alive")
	}
	well := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	if !answers(t.Context(), well, time.Minute) {
		t.Error("a server that answers does not count as alive")
	}
}
