package native

import (
	"strconv"
	"strings"
	"sync"

	"golang.org/x/text/collate"
	"golang.org/x/text/language"
)

// collators are those in use, by locale and options. A collator is used by one
// at a time.
var collators sync.Map // string → *sync.Pool

// compare orders two texts in a language: "-1", "0" or "1". options are
// "locale,sensitivity,numeric" of Intl.Collator; an unknown locale is English.
func compare(a, b, options string) string {
	pool, ok := collators.Load(options)
	if !ok {
		pool, _ = collators.LoadOrStore(options, &sync.Pool{New: func() any { return collator(options) }})
	}
	c := pool.(*sync.Pool).Get().(*collate.Collator)
	defer pool.(*sync.Pool).Put(c)
	return strconv.Itoa(c.CompareString(a, b))
}

func collator(options string) *collate.Collator {
	parts := append(strings.Split(options, ","), "", "", "")
	tag, err := language.Parse(parts[0])
	if err != nil {
		tag = language.English
	}
	var o []collate.Option
	switch parts[1] {
	case "base":
		o = append(o, collate.IgnoreCase, collate.IgnoreDiacritics)
	case "accent":
		o = append(o, collate.IgnoreCase)
	case "case":
		o = append(o, collate.IgnoreDiacritics)
	}
	if parts[2] == "true" {
		o = append(o, collate.Numeric)
	}
	return collate.New(tag, o...)
}
