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
	p, err := c.prepare(r)
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
	return c.netError(context.Background(), &url.URL{Host: "h"}, &net.OpError{Op: "dial", Err: err}, &redactor{}).NetCode
}
