package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"restic-manager/agent/client"
	"restic-manager/agent/config"
	"restic-manager/agent/facts"
	"restic-manager/agent/guard"
	"restic-manager/agent/restic"
	"restic-manager/shared/wire"
)

type enrollCommand struct {
	Server       string   `required:"" placeholder:"URL" help:"Address of the server, as in https://backup.example.com."`
	Token        string   `placeholder:"TOKEN" help:"Enrollment token. It can also come from --token-file or RESTIC_MANAGER_TOKEN, where others do not see it."`
	TokenFile    string   `placeholder:"FILE" type:"path" help:"File that holds the enrollment token."`
	Name         string   `placeholder:"HOSTNAME" help:"Hostname to enroll under in place of the system's."`
	Config       string   `placeholder:"FILE" type:"path" help:"agent.yaml to write. Default: /etc/restic-manager/agent.yaml for root, $XDG_CONFIG_HOME/restic-manager/agent.yaml otherwise."`
	CertPin      []string `placeholder:"sha256:SUM" sep:"none" help:"SHA-256 of the server's certificate, to trust it alone. Give it twice to prepare a change of certificate."`
	CA           string   `name:"ca" placeholder:"FILE" type:"path" help:"Certificates (PEM) to trust in place of the system's."`
	InsecureHTTP bool     `name:"insecure-http" help:"Allow http:// to a server that is not on this machine. Whoever is on the way can then read the agent's secret."`
	Proxy        string   `placeholder:"URL" help:"Proxy on the way to the server; goes into agent.yaml. Default: HTTPS_PROXY, HTTP_PROXY, NO_PROXY."`
	Force        bool     `help:"Enroll anew although this machine is enrolled. Keys that its owner added to agent.yaml stay."`
	Allow        []string `placeholder:"maintenance" enum:"maintenance" help:"Also allow the server to order forget and prune: writes guard.yaml where there is none."`
	AllowPaths   []string `placeholder:"PATH" help:"Allow backups of these paths alone: writes guard.yaml where there is none."`
}

// enrollTries bounds how long a server that is away keeps an install script waiting: about 15 s.
const enrollTries = 6

// Run enrolls this machine. Whatever happens in between, the same command again ends well: the agent's
// secret is on disk before it is spoken of, and the server answers the same pair of token and secret alike.
func (e *enrollCommand) Run(ctx context.Context, c console) error {
	token, err := e.token(c)
	if err != nil {
		return err
	}
	paths, err := config.Locate(e.Config, "")
	if err != nil {
		return err
	}
	e.Server = strings.TrimRight(strings.TrimSpace(e.Server), "/")
	if done, ok := config.Completed(paths.Config, e.Server, token); ok {
		e.enrolled(c, paths, done)
		return config.ClearPending(paths.Config)
	}
	if !e.Force {
		if err := config.CheckFree(paths.Config); err != nil {
			return fail(exitConfig, err)
		}
	}
	connection, err := e.connect()
	if err != nil {
		return fail(exitConfig, err)
	}
	defer connection.Close()
	// The guard first: were it written after the enrollment and failed, the server could order more than
	// was asked for here.
	if p := e.permissions(); !p.IsZero() {
		if err := guard.Write(paths.Guard, p); err != nil {
			return fail(exitConfig, err)
		}
	}
	pending, err := config.Prepare(paths.Config, e.Server, token)
	if err != nil {
		return fmt.Errorf("keep the new secret: %w", err)
	}
	reply, err := connection.Enroll(ctx, e.request(ctx, token, pending))
	if err != nil {
		return e.refused(paths, err)
	}
	settings := config.Config{ServerURL: e.Server, HostID: reply.HostID, Name: reply.Name, AgentToken: pending.AgentToken,
		CertPins: e.CertPin, CAFile: e.CA, InsecureHTTP: e.InsecureHTTP, Proxy: e.Proxy}
	if err := config.Save(paths.Config, settings); err != nil {
		return fmt.Errorf("the server took this machine, but agent.yaml cannot be written; mend that and give the same command again: %w", err)
	}
	e.enrolled(c, paths, &settings)
	return config.ClearPending(paths.Config)
}

// token is the one of the flag, the file or the environment, in this order.
func (e *enrollCommand) token(c console) (string, error) {
	token := e.Token
	if e.TokenFile != "" {
		if token != "" {
			return "", fail(exitUsage, errors.New("give --token or --token-file, not both"))
		}
		var err error
		if token, err = readToken(e.TokenFile); err != nil {
			return "", fail(exitUsage, fmt.Errorf("--token-file: %w", err))
		}
	}
	if token == "" {
		token = c.env("RESTIC_MANAGER_TOKEN")
	}
	token = strings.TrimSpace(token)
	if token == "" {
		return "", fail(exitUsage, errors.New("no enrollment token: give --token, --token-file or RESTIC_MANAGER_TOKEN"))
	}
	if !strings.HasPrefix(token, wire.EnrollmentTokenPrefix) || len(token) > 256 || strings.ContainsAny(token, " \t\r\n") {
		return "", fail(exitUsage, fmt.Errorf("this is no enrollment token: it begins with %s; make one at the server", wire.EnrollmentTokenPrefix))
	}
	return token, nil
}

// readToken takes a pipe too, as in --token-file /dev/stdin.
func readToken(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 4096))
	return string(data), err
}

// connect brings pins and the CA's path into the form that agent.yaml gets, and checks them all.
func (e *enrollCommand) connect() (*client.Client, error) {
	if len(e.CertPin) > config.MaxCertPins {
		return nil, fmt.Errorf("--cert-pin: at most %d, the certificate in use and the next one", config.MaxCertPins)
	}
	for i, text := range e.CertPin {
		pin, err := client.ParsePin(text)
		if err != nil {
			return nil, err
		}
		e.CertPin[i] = pin.String()
	}
	if e.CA != "" {
		absolute, err := filepath.Abs(e.CA)
		if err != nil {
			return nil, err
		}
		e.CA = absolute
	}
	if err := e.permissions().Check(); err != nil {
		return nil, err
	}
	return client.New(client.Options{ServerURL: e.Server, CertPins: e.CertPin, CAFile: e.CA, InsecureHTTP: e.InsecureHTTP, Proxy: e.Proxy,
		Version: agentVersion(), Tries: enrollTries})
}

func (e *enrollCommand) permissions() guard.Permissions {
	return guard.Permissions{Maintenance: len(e.Allow) > 0, Paths: e.AllowPaths}
}

func (e *enrollCommand) request(ctx context.Context, token string, p config.Pending) wire.EnrollRequest {
	f := facts.Collect(ctx)
	r := wire.EnrollRequest{Token: token, AgentTokenSHA256: p.AgentTokenSHA256(), Hostname: f.Hostname, OS: f.OS, Arch: f.Arch,
		AgentVersion: agentVersion(), ProtocolVersion: wire.ProtocolVersion}
	if e.Name != "" {
		r.Hostname = e.Name
	}
	if found, err := restic.NewFinder("").Find(ctx); err == nil {
		r.ResticVersion = found.Version.String()
	}
	return r
}

// refused says what to do about an enrollment that did not come about.
func (e *enrollCommand) refused(paths config.Paths, err error) error {
	switch client.Code(err) {
	case wire.ProblemEnrollmentTokenInvalid:
		// The server does not know this pair, so the secret is nobody's.
		return fail(exitRefused, errors.Join(errors.New("the server does not take this enrollment token: it is mistyped, used, withdrawn or expired; make a new one"), config.ClearPending(paths.Config)))
	case wire.ProblemProtocolTooOld:
		p, _ := errors.AsType[*wire.Problem](err)
		return fail(exitProtocol, fmt.Errorf("this agent is too old: the server wants protocol %d or newer, this is %d; install a newer agent %s", p.MinProtocolVersion, wire.ProtocolVersion, p.HelpURL))
	}
	if client.Untrusted(err) {
		return fail(exitConfig, fmt.Errorf("%w; nothing was told to it. Give --ca or --cert-pin, or mend them, and check this machine's clock", err))
	}
	if client.Final(err) {
		return fail(exitFailure, err)
	}
	return fail(exitTemporary, fmt.Errorf("%w; give the same command again later, it is safe to repeat", err))
}

// enrolled says what was done and what is left to do.
func (e *enrollCommand) enrolled(c console, paths config.Paths, settings *config.Config) {
	name := settings.Name
	if name == "" {
		name = "this machine"
	}
	fmt.Fprintf(c.out, "%s is enrolled with %s as host %s.\nIts identity is in %s.\n", name, settings.ServerURL, settings.HostID, paths.Config)
	found, err := restic.NewFinder("").Find(context.Background())
	if e, ok := errors.AsType[*restic.Error](err); ok {
		fmt.Fprintf(c.out, "Next: %s.\n", e.Message)
	} else if err == nil {
		fmt.Fprintf(c.out, "restic %s is at %s.\n", found.Version, found.Path)
	}
	fmt.Fprintln(c.out, "Next: name its repository in that file, unless the server holds it, and start the agent:")
	switch {
	case os.Geteuid() == 0 && e.Config == "" && e.Force:
		fmt.Fprintln(c.out, "  systemctl restart restic-manager-agent")
	case os.Geteuid() == 0 && e.Config == "":
		fmt.Fprintln(c.out, "  systemctl enable --now restic-manager-agent")
	default:
		fmt.Fprintf(c.out, "  restic-manager-agent run --config %s\n", paths.Config)
	}
}
