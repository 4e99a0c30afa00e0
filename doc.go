// Package syncline is the domain of Syncline: the words of the product as Go
// types, and nothing else. It depends on the standard library only; every
// other package depends on it.
//
// The types follow the data: an external API sends a [Delivery]; routing turns
// it into [Event] values, one per [SyncInstance] that it concerns; a [Run] of a
// [Function] handles them and changes [Record] values, each change at a new
// position of its [Collection]; a [Notification] tells the user's app.
//
// Internal ids are int64, start at 1 and are never reused, also after
// deletion. Zero means "none". Times are UTC with microsecond precision.
package syncline
