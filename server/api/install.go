package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"restic-manager/server/install"
)

// InstallGuide is how a machine is added by one pasted command. The options go behind the command: --token at least.
type InstallGuide struct {
	ServerURL   string          `json:"server_url" doc:"The server as machines reach it: the public URL, else the one this was asked at"`
	ScriptURL   string          `json:"script_url"`
	Certificate string          `json:"certificate" enum:"public,private,none" doc:"Whether machines trust the server by the roots they have; none: plain HTTP"`
	CertPin     string          `json:"cert_pin,omitempty" doc:"Of a private certificate: the agent's --cert-pin"`
	SPKIPin     string          `json:"spki_pin,omitempty" doc:"Of a private certificate: curl's --pinnedpubkey"`
	Command     string          `json:"command" doc:"Append --token and other options"`
	WgetCommand string          `json:"wget_command" doc:"The same for machines without curl"`
	Platforms   []AgentPlatform `json:"platforms" doc:"The agents there are; none: the command does not work here"`
}

// AgentPlatform is an agent that machines can fetch.
type AgentPlatform struct {
	OS        string `json:"os"`
	Arch      string `json:"arch"`
	SizeBytes int64  `json:"size_bytes"`
	SHA256    string `json:"sha256"`
	URL       string `json:"url"`
}

type installOutput struct{ Body InstallGuide }

func (s *Server) getInstall(ctx context.Context, _ *struct{}) (*installOutput, error) {
	site, err := s.site(exchangeOf(ctx))
	if err != nil {
		return nil, err
	}
	programs, err := s.agents.List()
	if err != nil {
		return nil, err
	}
	g := InstallGuide{ServerURL: site.URL, ScriptURL: site.ScriptURL(), Certificate: site.Kind, CertPin: site.CertPin, SPKIPin: site.SPKIPin,
		Command: site.Command(), WgetCommand: site.WgetCommand()}
	for _, p := range programs {
		g.Platforms = append(g.Platforms, AgentPlatform{OS: p.OS(), Arch: p.Arch(), SizeBytes: p.Size, SHA256: p.SHA256, URL: site.AgentURL(p.Platform)})
	}
	return &installOutput{g}, nil
}

// site is the server as whoever asks reaches it. Behind a proxy that is trusted, machines see the proxy's
// certificate, which is not known here.
func (s *Server) site(x *exchange) (install.Site, error) {
	site := install.Site{URL: s.publicURL, Version: s.o.Version}
	if site.URL == "" {
		scheme := "http"
		if x.secure {
			scheme = "https"
		}
		var err error
		if site.URL, err = install.ServerURL(scheme, x.host); err != nil {
			return install.Site{}, err
		}
	}
	u, err := url.Parse(site.URL)
	if err != nil {
		return install.Site{}, err
	}
	switch {
	case u.Scheme != "https":
		site.Certificate = install.Certificate{Kind: install.None}
	case x.ownTLS && s.o.Certificate != nil:
		site.Certificate, err = install.Judge(s.o.Certificate(), u.Hostname(), nil, s.now())
	default:
		site.Certificate = install.Certificate{Kind: install.Public}
	}
	return site, err
}

func (s *Server) installScript(c echo.Context, x *exchange) error {
	site, err := s.site(x)
	if err != nil {
		return err
	}
	programs, err := s.agents.List()
	if err != nil {
		return err
	}
	text, err := install.Script(site, programs)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	return sendFile(c, "text/x-shellscript; charset=utf-8", hex.EncodeToString(sum[:]), int64(len(text)), bytes.NewReader(text))
}

func (s *Server) downloadAgent(c echo.Context, _ *exchange) error {
	f, p, err := s.agents.Open(c.Param("platform"))
	if err != nil {
		return err
	}
	defer f.Close()
	c.Response().Header().Set("Content-Disposition", `attachment; filename="restic-manager-agent"`)
	return sendFile(c, "application/octet-stream", p.SHA256, p.Size, io.LimitReader(f, p.Size))
}

// sendFile sends a file whole, or says that the caller has it. The tag is the content's sum.
func sendFile(c echo.Context, contentType, sum string, size int64, body io.Reader) error {
	h, tag := c.Response().Header(), `"`+sum+`"`
	h.Set("ETag", tag)
	if hasTag(c.Request().Header.Values("If-None-Match"), tag) {
		return c.NoContent(http.StatusNotModified)
	}
	h.Set("Content-Length", strconv.FormatInt(size, 10))
	return c.Stream(http.StatusOK, contentType, body)
}

func contractOfScript(_ *Server, op *huma.Operation) {
	respond(op, 200, "text/x-shellscript", &huma.Schema{Type: "string"})
}

func contractOfProgram(_ *Server, op *huma.Operation) {
	respond(op, 200, echo.MIMEOctetStream, &huma.Schema{Type: "string", Format: "binary"})
}
