// Package schedule decides when polls are due: it makes sync instances for
// connections and deployed syncs, plans their next poll, takes commands
// (trigger, start, pause …), and hands what is due to a [Poller]. It does not
// know how a poll runs.
package schedule
