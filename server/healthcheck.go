package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"restic-manager/server/config"
)

type healthcheckCommand struct {
	config.Settings `embed:""`
}

// Run asks the server that these settings start for /healthz.
func (h *healthcheckCommand) Run(ctx context.Context, c console, l *config.Loader) error {
	if err := l.Complete(&h.Settings); err != nil {
		return err
	}
	url := localURL(&h.Settings, h.Listen) + "/healthz"
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{
		// No proxy: the server is on this machine. Its certificate names another host; nothing secret is sent
		// and only the status is looked at.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec
	}}
	answer, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("the server does not answer: %w", err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answers %s to %s", answer.Status, url)
	}
	_, err = fmt.Fprintln(c.out, "ok")
	return err
}

// localURL is how this machine reaches a listener with that address.
func localURL(s *config.Settings, listen string) string {
	scheme := "http"
	if s.TLSCert != "" {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return scheme + "://" + listen
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}
