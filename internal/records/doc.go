// Package records is the merge kernel and its use: which write changes which
// record. [Decide] is pure and exists once; [Apply] runs a batch through it in
// a store transaction; [Overlay] holds a webhook run's writes back until its
// commit. The package knows nothing of where writes come from.
package records
