package sdk

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"syncline"
	"syncline/internal/fn/gofn"
)

// Logger writes to the run's log. Attributes are kept as JSON beside the message.
func (h *Handle) Logger() *slog.Logger { return h.logger }

// Log is Logger().Info: a message, and attributes as pairs of key and value.
func (h *Handle) Log(message string, args ...any) { h.logger.Info(message, args...) } //nolint:sloglint // the caller's

// logHandler is a [slog.Handler] over a run's log.
type logHandler struct {
	s      *gofn.Session
	attrs  []slog.Attr // with their groups' names as prefixes
	prefix string      // of the open groups
}

func (l *logHandler) Enabled(context.Context, slog.Level) bool { return true }

func (l *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *l
	c.attrs = append(l.attrs[:len(l.attrs):len(l.attrs)], prefixed(l.prefix, attrs)...)
	return &c
}

func (l *logHandler) WithGroup(name string) slog.Handler {
	c := *l
	if name != "" {
		c.prefix += name + "."
	}
	return &c
}

func prefixed(prefix string, attrs []slog.Attr) []slog.Attr {
	out := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		out[i] = slog.Attr{Key: prefix + a.Key, Value: a.Value}
	}
	return out
}

// Handle adds a line.
func (l *logHandler) Handle(_ context.Context, r slog.Record) error {
	data := map[string]any{}
	for _, a := range l.attrs {
		put(data, a)
	}
	r.Attrs(func(a slog.Attr) bool {
		put(data, slog.Attr{Key: l.prefix + a.Key, Value: a.Value})
		return true
	})
	var raw json.RawMessage
	if len(data) > 0 {
		var err error
		if raw, err = json.Marshal(data); err != nil {
			raw, _ = json.Marshal(map[string]string{"unprintable": err.Error()})
		}
	}
	level := syncline.LogDebug
	switch {
	case r.Level >= slog.LevelError:
		level = syncline.LogError
	case r.Level >= slog.LevelWarn:
		level = syncline.LogWarn
	case r.Level >= slog.LevelInfo:
		level = syncline.LogInfo
	}
	l.s.Log(level, r.Message, raw)
	return nil
}

// put adds an attribute, its group's members as dotted keys.
func put(data map[string]any, a slog.Attr) {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindGroup:
		for _, member := range v.Group() {
			key := member.Key
			if a.Key != "" {
				key = strings.TrimSuffix(a.Key, ".") + "." + key
			}
			put(data, slog.Attr{Key: key, Value: member.Value})
		}
	case slog.KindDuration:
		data[a.Key] = v.Duration().String()
	case slog.KindTime:
		data[a.Key] = v.Time().Format(time.RFC3339Nano)
	default:
		value := v.Any()
		switch x := value.(type) {
		case json.Marshaler:
		case error:
			value = x.Error()
		case fmt.Stringer:
			value = x.String()
		}
		if a.Key != "" {
			data[a.Key] = value
		}
	}
}
