package api

import (
	"net/http"
	"regexp"

	"syncline"
	"syncline/internal/schedule"
	"syncline/internal/store"
)

// maxVariants is how many variants of a sync one connection may have.
const maxVariants = 100

// variantNames are the names that a variant may have: it becomes a part of
// collections' names.
var variantNames = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,99}$`)

// variantInput is the body of the variant endpoints.
type variantInput struct {
	ProviderConfigKey string `json:"provider_config_key"`
	ConnectionID      string `json:"connection_id"`
}

func (s *server) variantRequest(c *call, verb string) (name, variant string, in variantInput, err error) {
	name, variant = c.PathValue("name"), c.PathValue("variant")
	if err = c.body(s.MaxBody, &in); err != nil {
		return name, variant, in, err
	}
	switch {
	case in.ProviderConfigKey == "":
		err = as(badBody, invalid("provider_config_key", "provider_config_key is missing"))
	case in.ConnectionID == "":
		err = as(badBody, invalid("connection_id", "connection_id is missing"))
	case variant == syncline.BaseVariant:
		err = as("invalid_variant", invalid("variant", "the variant %q is protected; it cannot be %s", variant, verb))
	case !variantNames.MatchString(variant):
		err = as(badPath, invalid("variant", "the variant %q must be 1 to 100 of the characters a-z A-Z 0-9 _ . -, beginning with a letter or digit", variant))
	}
	return name, variant, in, err
}

func (s *server) createVariant(c *call) (reply, error) {
	name, variant, in, err := s.variantRequest(c, "made")
	if err != nil {
		return reply{}, err
	}
	var made syncline.SyncInstance
	err = s.Store.Update(c.Context(), store.Durable, func(tx store.Tx) error {
		i, k, err := connection(tx, c.env.ID, in.ProviderConfigKey, in.ConnectionID, http.StatusBadRequest)
		if err != nil {
			return err
		}
		f, err := tx.FunctionByName(c.env.ID, i.ID, syncline.FunctionSync, name)
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			return unknown(http.StatusBadRequest, "unknown_sync", "no sync %q is deployed for the integration %q", name, in.ProviderConfigKey)
		}
		if err != nil {
			return err
		}
		have, err := tx.Instances(c.env.ID, store.InstanceFilter{ConnectionID: k.ID, FunctionID: f.ID})
		if err != nil {
			return err
		}
		count := 0
		for _, inst := range have {
			if inst.Variant == variant {
				return as("sync_variant_already_exists", invalid("variant", "the sync %q has a variant %q already", name, variant))
			}
			if inst.Variant != syncline.BaseVariant {
				count++
			}
		}
		if count >= maxVariants {
			return as("resource_capped", invalid("variant", "the sync %q has %d variants for this connection, the most there may be", name, count))
		}
		made, err = schedule.Ensure(tx, &f, k.ID, variant, s.Clock.Now())
		return err
	})
	if err != nil {
		return reply{}, err
	}
	s.Hooks.SchedulesChanged()
	return ok(map[string]string{"id": made.UUID, "name": name, "variant": variant})
}

func (s *server) deleteVariant(c *call) (reply, error) {
	name, variant, in, err := s.variantRequest(c, "deleted")
	if err != nil {
		return reply{}, err
	}
	err = s.Store.Update(c.Context(), store.Durable, func(tx store.Tx) error {
		i, k, err := connection(tx, c.env.ID, in.ProviderConfigKey, in.ConnectionID, http.StatusBadRequest)
		if err != nil {
			return err
		}
		missing := unknown(http.StatusNotFound, "not_found", "the sync %q has no variant %q for this connection", name, variant)
		f, err := tx.FunctionByName(c.env.ID, i.ID, syncline.FunctionSync, name)
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			return missing
		}
		if err != nil {
			return err
		}
		list, err := tx.Instances(c.env.ID, store.InstanceFilter{ConnectionID: k.ID, FunctionID: f.ID, Variant: variant})
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return missing
		}
		return tx.DeleteInstance(c.env.ID, list[0].ID, s.Clock.Now())
	})
	if err != nil {
		return reply{}, err
	}
	s.Hooks.SchedulesChanged()
	return ok(map[string]bool{"success": true})
}
