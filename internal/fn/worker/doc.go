// Package worker runs functions in processes of their own. [Serve] is the loop
// of a worker: it executes calls with an engine and asks the server for
// everything else. [Pool] is the server's side: it starts workers on demand,
// one environment each, hands calls to them, answers their host calls, and
// replaces workers that die. A crash, a memory fault or an exceeded limit takes
// a worker, never the server.
//
// # Protocol
//
// Both sides write frames to a pipe. A frame is
//
//	type     1 byte
//	run      4 bytes, big endian: which call it belongs to; 0 for none
//	length   4 bytes, big endian: of the payload, at most 256 MiB
//	payload
//
// and the types are
//
//	hello   w→s   JSON {"protocol": 2}; the first frame
//	run     s→w   4 bytes: length of the head; the head, JSON; the input, JSON
//	cancel  s→w   the run is to end
//	ask     w→s   4 bytes: id; 1 byte: length of the method; method; arguments, JSON
//	answer  s→w   4 bytes: id; 1 byte: 0 result, 1 error; JSON
//	log     w→s   JSON of one log line
//	done    w→s   1 byte: 0 value, 1 error; JSON
//	ping    s→w   asks for a pong, of a worker that has runs
//	pong    w→s   answers a ping at once
//	setup   s→w   what [Options.Setup] has; the first frame, to workers that need it
//
// The bundle of a run is asked for with the method "$bundle", whose answer is
// the source itself, when the worker does not have it. With arguments, a JSON
// string, the method asks for the library of that hash, which a bundle
// continues.
package worker
