package api

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// caller is who calls about what: the host from its credential, the rest from the path and the headers.
// Nothing of it can come from a body.
type caller struct {
	host, job, lease string
	token            string // of a listing
	address          string
	body             []byte // as inflated
}

// answer binds a call that agents make. Unlike people's, it takes what it does not know: a newer agent says
// more, an older one less (docs/protocol.md). The body is decoded once, and what PostgreSQL could not store
// is replaced.
func answer[I, O any](h func(context.Context, caller, I) (O, error)) bind {
	return func(s *Server, r *Route, op huma.Operation) {
		describe[I, O](s, r, &op)
		s.echo.Add(r.Method, r.echoPath(), func(c echo.Context) error {
			x := exchangeOf(c.Request().Context())
			b, err := s.readBody(x, c.Request(), r.limit, true)
			if err != nil {
				return err
			}
			defer b.release()
			who, err := x.caller(c)
			if err != nil {
				return err
			}
			var in I
			if err := json.Unmarshal(b.plain, &in); err != nil {
				return malformed("The body is not the JSON of this call: " + jsonWords(err) + ".")
			}
			clean(reflect.ValueOf(&in).Elem())
			who.body = b.plain
			out, err := h(c.Request().Context(), who, in)
			if err != nil {
				return err
			}
			return reply(c, r.code(), out)
		})
	}
}

func (r *Route) code() int {
	if r.status == 0 {
		return http.StatusOK
	}
	return r.status
}

// jsonWords says what is wrong without repeating what was sent.
func jsonWords(err error) string {
	switch e := err.(type) {
	case *json.UnmarshalTypeError:
		return "the field " + strconv.Quote(e.Field) + " has the wrong type"
	case *json.SyntaxError:
		return "it breaks off or goes wrong at byte " + strconv.FormatInt(e.Offset, 10)
	}
	return "a field has the wrong form"
}

// reply sends JSON.
func reply(c echo.Context, code int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w := c.Response()
	w.Header().Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
	w.WriteHeader(code)
	_, _ = w.Write(b) // a client that went away is no news
	return nil
}

// needsLease names the calls that carry their lease in the header.
func (r *Route) needsLease() bool {
	last := r.Path[strings.LastIndexByte(r.Path, '/')+1:]
	return last == "start" || last == "adopt" || last == "log" || last == "progress" || last == "finish"
}

func (x *exchange) caller(c echo.Context) (caller, error) {
	who := caller{host: x.hostID, address: x.addressText(), job: c.Param("id")}
	if x.route.needsLease() {
		if who.lease = c.Request().Header.Get(wire.HeaderLease); !wire.IsRandomHex(who.lease) {
			return caller{}, fault.Invalidf("Send the job's lease, 32 hex digits, as %s.", wire.HeaderLease)
		}
	}
	if strings.Contains(x.route.Path, "{token}") {
		who.token = listingToken(c)
	}
	return who, nil
}

// clean replaces NUL in every string of a decoded body: PostgreSQL's text cannot hold it. (The decoder has
// replaced what is not UTF-8 and lone surrogates already.)
func clean(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if s := v.String(); strings.IndexByte(s, 0) >= 0 {
			v.SetString(strings.ReplaceAll(s, "\x00", "\uFFFD"))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			clean(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				clean(f)
			}
		}
	case reflect.Slice:
		switch v.Type().Elem().Kind() {
		case reflect.String, reflect.Struct, reflect.Pointer:
			for i := range v.Len() {
				clean(v.Index(i))
			}
		}
	}
}

func (s *Server) enroll(ctx context.Context, who caller, in wire.EnrollRequest) (wire.EnrollReply, error) {
	return s.o.Fleet.Enroll(ctx, in, who.address)
}

// maxBootNumber leaves room above: the number of a later boot must be higher, and a wrong clock is cured by
// taking one number more (docs/protocol.md, Polling).
const maxBootNumber = 1 << 53

func (s *Server) hello(ctx context.Context, who caller, in wire.HelloRequest) (wire.HelloReply, error) {
	if in.BootNumber < 1 || in.BootNumber > maxBootNumber {
		return wire.HelloReply{}, fault.Invalidf("boot_number: give 1 to %d", int64(maxBootNumber))
	}
	return s.o.Fleet.Hello(ctx, who.host, in)
}

func (s *Server) acceptJob(ctx context.Context, who caller, in wire.AcceptRequest) (wire.AcceptReply, error) {
	if err := checkRandom("lease", in.Lease); err != nil {
		return wire.AcceptReply{}, err
	}
	return s.o.Fleet.Accept(ctx, who.host, who.job, in)
}

func (s *Server) startJob(ctx context.Context, who caller, in wire.StartRequest) (wire.Empty, error) {
	if err := checkRandom("start_nonce", in.StartNonce); err != nil {
		return wire.Empty{}, err
	}
	if in.RepositoryID != "" && !wire.IsSHA256(in.RepositoryID) {
		return wire.Empty{}, fault.Invalidf("repository_id: give restic's own id, 64 hex digits, or leave it out")
	}
	return wire.Empty{}, s.o.Fleet.Start(ctx, who.host, who.job, who.lease, in)
}

func (s *Server) adoptJob(ctx context.Context, who caller, in wire.AdoptRequest) (wire.Empty, error) {
	return wire.Empty{}, s.o.Fleet.Adopt(ctx, who.host, who.job, who.lease, in)
}

func (s *Server) recordTicks(ctx context.Context, who caller, in wire.TicksRequest) (wire.TicksReply, error) {
	return s.o.Policies.RecordTicks(ctx, who.host, in)
}

func (s *Server) resumeJob(ctx context.Context, who caller, in wire.ResumeRequest) (wire.ResumeReply, error) {
	if err := checkRandom("old_lease", in.OldLease); err != nil {
		return wire.ResumeReply{}, err
	}
	if err := checkRandom("new_lease", in.NewLease); err != nil {
		return wire.ResumeReply{}, err
	}
	return s.o.Fleet.Resume(ctx, who.host, who.job, in)
}

func (s *Server) reportProgress(ctx context.Context, who caller, in wire.Progress) (wire.ProgressReply, error) {
	return s.o.Fleet.Progress(ctx, who.host, who.job, who.lease, in)
}

func (s *Server) finishJob(ctx context.Context, who caller, in wire.FinishRequest) (wire.FinishReply, error) {
	return s.o.Fleet.Finish(ctx, who.host, who.job, who.lease, who.body, in)
}

func (s *Server) beginListing(ctx context.Context, who caller, in wire.ListingRequest) (wire.ListingReply, error) {
	if !wire.IsUUID(in.JobID) {
		in.JobID = nobody
	}
	return s.o.Fleet.BeginListing(ctx, who.host, in.JobID)
}

func checkRandom(field, s string) error {
	if !wire.IsRandomHex(s) {
		return fault.Invalidf("%s: give 128 random bits as 32 hex digits", field)
	}
	return nil
}
