// Package gofn is the engine of functions that are compiled into the binary:
// it calls them in-process, under the limits that a process can set itself, and
// knows which versions this process has. Package sdk makes its functions; gofn
// does not know what a host call does.
//
// Wall time, host calls, log lines and output are limited. CPU time and memory
// are not: a Go function shares both with the server, and code that does not
// heed its context cannot be stopped. Such a call is given up when its time is
// over: its host refuses everything from then on.
package gofn
