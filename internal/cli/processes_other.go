//go:build !unix

package cli

func childMemory() int64 { return 0 }
