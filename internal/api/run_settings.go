package api

import (
	"encoding/json"
	"errors"
	"net/http"

	"syncline"
	documents "syncline/internal/schema"
	"syncline/internal/store"
)

// runSettingsInput is how functions run, as bodies set it: absent members are
// left as they are, null takes them back.
type runSettingsInput struct {
	Validation json.RawMessage `json:"validation"`
	Limits     json.RawMessage `json:"limits"`
}

// apply writes what the input has into settings; most bounds limits.
func (in *runSettingsInput) apply(to *syncline.RunSettings, most syncline.RunLimits) error {
	if len(in.Validation) > 0 {
		var text string
		if !isNull(in.Validation) && json.Unmarshal(in.Validation, &text) != nil {
			return as(badBody, invalid("validation", "validation must be a string or null"))
		}
		v, err := syncline.ParseValidation(text)
		if err != nil {
			return as(badBody, fieldOf(err, "validation"))
		}
		to.Validation = v
	}
	if len(in.Limits) == 0 {
		return nil
	}
	var limits syncline.RunLimits
	if !isNull(in.Limits) {
		if err := limits.UnmarshalJSON(in.Limits); err != nil {
			return as(badBody, err)
		}
	}
	if within := limits.Within(most); within != limits {
		allowed, err := json.Marshal(most)
		if err != nil {
			return err
		}
		return as(badBody, invalid("limits", "a limit is beyond what this server allows: %s", allowed).
			WithHint("the operator sets these maximums (--poll-wall-max and others)"))
	}
	to.Limits = limits
	return nil
}

func fieldOf(err error, field string) error {
	var e *syncline.Error
	if errors.As(err, &e) {
		return e.WithField(field)
	}
	return err
}

// runSettingsJSON shows how functions run.
type runSettingsJSON struct {
	Validation *syncline.Validation `json:"validation"` // null: not said
	Limits     syncline.RunLimits   `json:"limits"`
}

func showRunSettings(s syncline.RunSettings) runSettingsJSON {
	out := runSettingsJSON{Limits: s.Limits}
	if s.Validation != "" {
		out.Validation = &s.Validation
	}
	return out
}

// functionJSON is a deployed function.
type functionJSON struct {
	Name     string                `json:"name"`
	Type     syncline.FunctionType `json:"type"`
	Version  int64                 `json:"version"` // counted by deployments
	Label    string                `json:"version_label"`
	Enabled  bool                  `json:"enabled"`
	Settings runSettingsJSON       `json:"settings"` // what was set beside the code
	// Effective is how it runs: its settings before its code's, before the
	// environment's, before the server's. The wall time is that of its polls.
	Effective runSettingsJSON `json:"effective"`
}

func (s *server) showFunction(e *syncline.Environment, f *syncline.Function) functionJSON {
	m := &f.Active.Manifest
	own := f.Run.Over(syncline.RunSettings{Validation: m.Validation, Limits: m.Limits}).Over(e.Run)
	own.Limits = own.Limits.Within(s.MostLimits)
	own = own.Over(syncline.RunSettings{Validation: syncline.ValidationWarn, Limits: s.Limits})
	return functionJSON{
		Name: f.Name, Type: f.Type, Version: f.Active.Number, Label: m.Version, Enabled: f.Enabled,
		Settings: showRunSettings(f.Run), Effective: showRunSettings(own),
	}
}

func (s *server) listFunctions(c *call) (reply, error) {
	if _, err := c.params(); err != nil {
		return reply{}, err
	}
	list := []functionJSON{}
	err := s.Store.View(c.Context(), func(r store.Reader) error {
		e, err := r.Environment(c.env.ID)
		if err != nil {
			return err
		}
		i, err := integration(r, c.env.ID, c.PathValue("uniqueKey"))
		if err != nil {
			return err
		}
		all, err := r.Functions(c.env.ID, i.ID)
		for n := range all {
			list = append(list, s.showFunction(&e, &all[n]))
		}
		return err
	})
	if err != nil {
		return reply{}, err
	}
	return ok(map[string]any{"functions": list})
}

func (s *server) patchFunction(c *call) (reply, error) {
	q, err := c.params("type")
	if err != nil {
		return reply{}, err
	}
	if err := oneOf(q, "type", syncline.FunctionSync, syncline.FunctionAction, syncline.FunctionOnEvent); err != nil {
		return reply{}, err
	}
	kind := syncline.FunctionType(q.Get("type"))
	if kind == "" {
		kind = syncline.FunctionSync
	}
	var in runSettingsInput
	if err := c.body(s.MaxBody, &in); err != nil {
		return reply{}, err
	}
	var out functionJSON
	err = s.Store.Update(c.Context(), store.Durable, func(tx store.Tx) error {
		e, err := tx.Environment(c.env.ID)
		if err != nil {
			return err
		}
		i, err := integration(tx, c.env.ID, c.PathValue("uniqueKey"))
		if err != nil {
			return err
		}
		f, err := tx.FunctionByName(c.env.ID, i.ID, kind, c.PathValue("name"))
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			return unknown(http.StatusNotFound, "not_found", "no %s %q is deployed for the integration %q", kind, c.PathValue("name"), i.UniqueKey)
		}
		if err != nil {
			return err
		}
		if err := in.apply(&f.Run, s.MostLimits); err != nil {
			return err
		}
		out = s.showFunction(&e, &f)
		return tx.SetFunctionRun(c.env.ID, f.ID, f.Run)
	})
	if err != nil {
		return reply{}, err
	}
	return ok(out)
}

// checkMetadata refuses metadata that a function of the integration does not
// allow by its schema, where its validation is strict. given takes the place of
// all metadata, or of members of it.
func checkMetadata(r store.Reader, e *syncline.Environment, i *syncline.Integration, given map[string]any, replace bool) error {
	functions, err := r.Functions(e.ID, i.ID)
	if err != nil {
		return err
	}
	for n := range functions {
		f := &functions[n]
		m := &f.Active.Manifest
		if len(m.Metadata) == 0 {
			continue
		}
		if way := f.Run.Over(syncline.RunSettings{Validation: m.Validation}).Over(e.Run).Validation; way != syncline.ValidationStrict {
			continue
		}
		if err := documents.Metadata(m.Metadata, given, replace); err != nil {
			return as(badBody, syncline.Errorf(syncline.CodeInvalid, "the metadata is not what the %s %s allows: %w", f.Type, f.Name, err).WithField("metadata"))
		}
	}
	return nil
}
