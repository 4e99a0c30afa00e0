// Command go-functions is a Syncline server with functions in Go compiled in:
// a real-time sync of GitHub's issues, and an action that closes one.
package main

import (
	"syncline/app"
	"syncline/sdk"
)

// functions is what this binary has, and its tests test.
var functions = sdk.Functions{issues, closeIssue}

func main() {
	app.Main(functions)
}
