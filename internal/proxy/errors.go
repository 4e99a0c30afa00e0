package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"syncline"
	"syncline/internal/fn"
)

// retryableNet reports whether a request that failed without an answer is worth
// another attempt.
func retryableNet(netCode string) bool {
	return slices.Contains([]string{"ECONNRESET", "ETIMEDOUT", "ECONNABORTED", "ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "EPIPE", "EAI_AGAIN"}, netCode)
}

// hostError turns an error of building the request into what the function sees.
func hostError(err error, secrets *redactor) *fn.HostError {
	code, netCode := syncline.CodeOf(err), "ERR_INVALID_URL"
	switch code {
	case syncline.CodeForbidden:
		netCode = "ERR_OUTBOUND_POLICY"
	case syncline.CodeInvalid:
	default:
		code = syncline.CodeInternal
	}
	return &fn.HostError{Code: code, Name: "AxiosError", NetCode: netCode, Message: secrets.text(err.Error())}
}

func invalid(netCode, format string, args ...any) *fn.HostError {
	return &fn.HostError{Code: syncline.CodeInvalid, Name: "AxiosError", NetCode: netCode, Message: fmt.Sprintf(format, args...)}
}

func redirectRefused(from *url.URL, err error, secrets *redactor) *fn.HostError {
	e := hostError(err, secrets)
	e.Message = secrets.text(from.Host) + " redirected to where it may not: " + e.Message
	return e
}

// netError turns a failed exchange into what the function sees: Node's code,
// and a message that names the host. Messages of the network layer are replaced,
// not repeated: they are for programmers of Go, and some quote URLs.
func (c *Client) netError(x *exchange, err error) *fn.HostError {
	return c.netErrorOf(x, err, c.conf.MaxResponseBody)
}

// netErrorOf is netError for a body that is bounded by limit.
func (c *Client) netErrorOf(x *exchange, err error, limit int64) *fn.HostError {
	var refused *syncline.Error
	if errors.As(err, &refused) {
		return hostError(refused, x.p.secrets)
	}
	host := x.p.secrets.text(x.url.Host)
	if err := x.p.body.failure(); err != nil {
		return err
	}
	fail := func(netCode, format string, args ...any) *fn.HostError {
		return &fn.HostError{Code: syncline.CodeUpstream, Name: "AxiosError", NetCode: netCode, Message: fmt.Sprintf(format, args...)}
	}
	var (
		dns      *net.DNSError
		op       *net.OpError
		timeout  interface{ Timeout() bool }
		hostname x509.HostnameError
		unknown  x509.UnknownAuthorityError
		bad      x509.CertificateInvalidError
		verify   *tls.CertificateVerificationError
		record   tls.RecordHeaderError
		alert    tls.AlertError
	)
	switch {
	case errors.Is(err, errTooLarge):
		e := fail("ERR_BAD_RESPONSE", "%s", sizeMessage("the response's body from "+host, limit))
		e.Code = syncline.CodeTooLarge
		return e
	case errors.Is(err, errEncoding):
		return fail("ERR_BAD_RESPONSE", "the response of %s is not in the encoding that its Content-Encoding header names", host)
	case x.waiting:
		return fail("ECONNABORTED", "timeout of %dms exceeded while the response of %s waited for memory: many large responses are read at a time (--proxy-memory-limit)", x.p.timeout.Milliseconds(), host)
	case errors.Is(context.Cause(x.ctx), errTimeout):
		return fail("ECONNABORTED", "timeout of %dms exceeded: %s did not answer in full", x.p.timeout.Milliseconds(), host)
	case errors.Is(context.Cause(x.ctx), errIdle):
		return fail("ECONNABORTED", "timeout: nothing came of the response's body from %s for %s", host, x.wait)
	case errors.As(err, &dns):
		if dns.IsNotFound {
			return fail("ENOTFOUND", "getaddrinfo ENOTFOUND %s: the host is not known", host)
		}
		return fail("EAI_AGAIN", "getaddrinfo EAI_AGAIN %s: the name could not be resolved", host)
	case errors.As(err, &hostname):
		return fail("ERR_TLS_CERT_ALTNAME_INVALID", "the certificate of %s is for another host", host)
	case errors.As(err, &unknown):
		return fail("UNABLE_TO_VERIFY_LEAF_SIGNATURE", "the certificate of %s is signed by an authority that this machine does not trust", host)
	case errors.As(err, &bad) && bad.Reason == x509.Expired:
		return fail("CERT_HAS_EXPIRED", "the certificate of %s is expired or not yet valid", host)
	case errors.As(err, &verify), errors.As(err, &bad):
		return fail("ERR_TLS_CERT_INVALID", "the certificate of %s is not valid", host)
	case errors.As(err, &record), errors.As(err, &alert), strings.Contains(err.Error(), "tls: "), strings.Contains(err.Error(), "HTTP response to HTTPS client"):
		return fail("EPROTO", "the TLS handshake with %s failed", host)
	}
	for _, known := range []struct {
		errno syscall.Errno
		code  string
		text  string
	}{
		{syscall.ECONNREFUSED, "ECONNREFUSED", "refused the connection"},
		{syscall.ECONNRESET, "ECONNRESET", "reset the connection"},
		{syscall.EPIPE, "EPIPE", "closed the connection while the request was sent"},
		{syscall.EHOSTUNREACH, "EHOSTUNREACH", "cannot be reached"},
		{syscall.ENETUNREACH, "ENETUNREACH", "is in a network that cannot be reached"},
		{syscall.ETIMEDOUT, "ETIMEDOUT", "did not answer"},
	} {
		if errors.Is(err, known.errno) {
			return fail(known.code, "%s: %s %s", known.code, host, known.text)
		}
	}
	switch {
	case strings.Contains(err.Error(), "TLS handshake timeout"):
		return fail("ETIMEDOUT", "connect ETIMEDOUT: the TLS handshake with %s took longer than %s", host, c.conf.ConnectTimeout)
	case strings.Contains(err.Error(), "timeout awaiting response headers"):
		return fail("ECONNABORTED", "timeout of %dms exceeded: the first byte of the response of %s did not come", c.conf.HeaderTimeout.Milliseconds(), host)
	case errors.As(err, &timeout) && timeout.Timeout():
		if errors.As(err, &op) && op.Op == "dial" {
			return fail("ETIMEDOUT", "connect ETIMEDOUT: %s did not take the connection within %s", host, c.conf.ConnectTimeout)
		}
		return fail("ECONNABORTED", "timeout: %s did not answer in time", host)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), strings.Contains(err.Error(), "server closed"):
		return fail("ECONNRESET", "socket hang up: %s closed the connection before its answer was complete", host)
	case strings.Contains(err.Error(), "malformed"), strings.Contains(err.Error(), "invalid"), strings.Contains(err.Error(), "chunk"):
		return fail("HPE_INVALID", "the response of %s is not valid HTTP", host)
	case strings.Contains(err.Error(), "response headers exceeded"):
		return fail("HPE_HEADER_OVERFLOW", "the response's headers from %s exceed the limit", host)
	}
	return fail("ECONNRESET", "the request to %s failed on the network", host)
}

// sizeMessage names a limit that was hit.
func sizeMessage(what string, limit int64) string {
	return what + " exceeds the limit of " + sizeText(limit)
}

func sizeText(n int64) string {
	for _, u := range []struct {
		shift int
		name  string
	}{{30, "GiB"}, {20, "MiB"}, {10, "KiB"}} {
		if n >= 1<<u.shift && n%(1<<u.shift) == 0 {
			return fmt.Sprintf("%d %s", n>>u.shift, u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }
