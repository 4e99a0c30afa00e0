//go:build unix

package pgtest

// Stop stops the servers that were started. It is for packages that do not end
// with [Main].
func Stop() {
	if replica.server != nil {
		replica.server.stop()
	}
	if shared.server != nil {
		shared.server.stop()
	}
}
