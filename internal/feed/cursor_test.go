package feed

import (
	"testing"
	"time"

	"syncline"
)

func FuzzCursors(f *testing.F) {
	for _, s := range []string{
		"", "AQEB", Cursor(1, 1), Cursor(1<<62, 1<<62), Cursor(7, 0), cursorWithin(7, 3, 9), cursorWithin(1<<62, 1, 1<<62), "AQGBAA", "AgEBAQ", "AgEFAw", "AQ", "Ag==",
		"MjAyNC0wMy0wNFQwNjo1OTo1MS40NzE0NDEtMDU6MDB8fDE1Y2NjODA1LTY0ZDUtNDk0MC1hN2UwLTQ1ZmM3MDQ5OTdhMQ==",
		"MjAyMy0xMS0xN1QxMTo0NzoxNC40NDcrMDI6MDB8fDAzZTA1NzIxLWNiZmQtNGYxNS1iYTNhLWFlNjM2Y2MwNmEw==",
		"Y3JlYXRlZF9hdF4yMDIzLTExLTE3VDExOjQ3OjE0LjQ0NyswMjowMHxpZF4xYTE2MTYwMQ",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := parseCursor(s)
		switch {
		case err != nil:
			if syncline.CodeOf(err) != syncline.CodeInvalid || c != (cursor{}) {
				t.Fatalf("%q: %v with %+v", s, err, c)
			}
		case c == (cursor{}):
			if s != "" {
				t.Fatalf("%q is taken for the beginning", s)
			}
		case c.collection != 0:
			if c.collection < 0 || c.seq < 0 || !c.at.IsZero() || cursorWithin(c.collection, c.seq, c.began) != s {
				t.Fatalf("%q was not given out for %+v", s, c)
			}
		case c.at.IsZero() || c.at.Location() != time.UTC:
			t.Fatalf("%q gives %+v", s, c)
		}
	})
}

func TestNangosCursorsAreTimes(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"MjAyNC0wMy0wNFQwNjo1OTo1MS40NzE0NDEtMDU6MDB8fDE1Y2NjODA1LTY0ZDUtNDk0MC1hN2UwLTQ1ZmM3MDQ5OTdhMQ==": "2024-03-04T11:59:51.471441Z",
		"MjAyMy0xMS0xN1QxMTo0NzoxNC40NDcrMDI6MDB8fDAzZTA1NzIxLWNiZmQtNGYxNS1iYTNhLWFlNjM2Y2MwNmEw==":       "2023-11-17T09:47:14.447Z",
	} {
		c, err := parseCursor(s)
		if err != nil || c.at.Format(time.RFC3339Nano) != want {
			t.Errorf("%s is %+v, %v; want %s", s, c, err, want)
		}
	}
}
