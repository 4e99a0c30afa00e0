package api

import (
	"encoding/json"
	"net/http"
	"regexp"

	"syncline"
	"syncline/internal/secret"
	"syncline/internal/store"
)

// The limits of variables.
const (
	maxVariables     = 1000
	maxVariableValue = 64 << 10
)

var variableNames = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,254}$`)

// variableJSON is one variable, in Nango's shape.
type variableJSON struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// OpenVariables is variables as GET /environment-variables and functions show them.
func OpenVariables(secrets *secret.Sealer, list []syncline.Variable) (json.RawMessage, error) {
	out, err := openVariables(secrets, list)
	if err != nil {
		return nil, err
	}
	return json.Marshal(out)
}

func openVariables(secrets *secret.Sealer, list []syncline.Variable) ([]variableJSON, error) {
	out := make([]variableJSON, len(list))
	for i, v := range list {
		value, err := secrets.Open(v.EnvironmentID, secret.PurposeVariable, v.Value)
		if err != nil {
			return nil, err
		}
		out[i] = variableJSON{v.Name, string(value)}
	}
	return out, nil
}

func (s *server) listVariables(c *call) (reply, error) {
	if _, err := c.params(); err != nil {
		return reply{}, err
	}
	var list []syncline.Variable
	err := s.Store.View(c.Context(), func(r store.Reader) (err error) {
		list, err = r.Variables(c.env.ID)
		return err
	})
	if err != nil {
		return reply{}, err
	}
	out, err := openVariables(s.Secrets, list)
	if err != nil {
		return reply{}, err
	}
	return ok(out)
}

// putVariables sets the variables that the body lists, and leaves the others.
func (s *server) putVariables(c *call) (reply, error) {
	var in []struct {
		Name  *string `json:"name"`
		Value *string `json:"value"`
	}
	if err := c.body(s.MaxBody, &in); err != nil {
		return reply{}, err
	}
	now := s.Clock.Now()
	variables := make([]syncline.Variable, 0, len(in))
	for _, v := range in {
		switch {
		case v.Name == nil || !variableNames.MatchString(*v.Name):
			return reply{}, as(badBody, invalid("name", "a variable's name is missing or not usable").
				WithHint("use letters, digits and _, not beginning with a digit; at most 255"))
		case v.Value == nil:
			return reply{}, as(badBody, invalid("value", "the variable %s has no value", *v.Name).WithHint("DELETE /environment-variables/%s removes it", *v.Name))
		case len(*v.Value) > maxVariableValue:
			return reply{}, as(badBody, invalid("value", "the value of %s has %d bytes; the limit is %d", *v.Name, len(*v.Value), maxVariableValue))
		}
		sealed, err := s.Secrets.Seal(c.env.ID, secret.PurposeVariable, []byte(*v.Value))
		if err != nil {
			return reply{}, err
		}
		variables = append(variables, syncline.Variable{EnvironmentID: c.env.ID, Name: *v.Name, Value: sealed, UpdatedAt: now})
	}
	err := s.Store.Update(c.Context(), store.Durable, func(tx store.Tx) error {
		for i := range variables {
			if err := tx.PutVariable(&variables[i]); err != nil {
				return err
			}
		}
		all, err := tx.Variables(c.env.ID)
		if err == nil && len(all) > maxVariables {
			err = as(badBody, invalid("", "an environment has at most %d variables", maxVariables))
		}
		return err
	})
	if err != nil {
		return reply{}, err
	}
	return ok(map[string]any{"success": true})
}

func (s *server) deleteVariable(c *call) (reply, error) {
	name := c.PathValue("name")
	err := s.Store.Update(c.Context(), store.Durable, func(tx store.Tx) error { return tx.DeleteVariable(c.env.ID, name) })
	if syncline.CodeOf(err) == syncline.CodeNotFound {
		return reply{}, unknown(http.StatusNotFound, "not_found", "there is no variable %q in this environment", name)
	}
	if err != nil {
		return reply{}, err
	}
	return ok(map[string]any{"success": true})
}
