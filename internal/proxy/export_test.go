package proxy

import (
	"context"
	"net"
	"net/http"
	"net/url"
)

// URLOf is the URL that a request would be made to.
func URLOf(r Request) (string, error) {
	c := New(Config{})
	defer c.Close()
	p, err := c.prepare(r, nil)
	if err != nil {
		return "", err
	}
	// As it goes over the wire.
	req := http.Request{URL: p.url}
	return p.url.Scheme + "://" + p.url.Host + req.URL.RequestURI(), nil
}

// NetCodeOf is the code of an error of dialling.
func NetCodeOf(err error) string {
	c := New(Config{})
	defer c.Close()
	x := &exchange{ctx: context.Background(), url: &url.URL{Host: "h"}, p: &prepared{secrets: &redactor{}}}
	return c.netError(x, &net.OpError{Op: "dial", Err: err}).NetCode
}
