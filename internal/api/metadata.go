package api

import (
	"encoding/json"
	"maps"
	"net/http"

	"syncline"
	"syncline/internal/store"
)

// maxMetadataIDs is how many connections one request may change.
const maxMetadataIDs = 1000

// oneOrMany is a string, or an array of strings.
type oneOrMany struct {
	ids  []string
	many bool
}

func (o *oneOrMany) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil && !isNull(data) {
		o.ids = []string{one}
		return nil
	}
	o.many = true
	if isNull(data) || json.Unmarshal(data, &o.ids) != nil {
		return invalid("connection_id", "connection_id must be a string or an array of strings")
	}
	return nil
}

func (o oneOrMany) MarshalJSON() ([]byte, error) {
	if o.many {
		return json.Marshal(o.ids)
	}
	return json.Marshal(o.ids[0])
}

// metadataJSON is the body and the answer of the metadata endpoints.
type metadataJSON struct {
	ConnectionID      oneOrMany      `json:"connection_id"`
	ProviderConfigKey string         `json:"provider_config_key"`
	Metadata          map[string]any `json:"metadata"`
}

func (s *server) setMetadata(c *call) (reply, error) {
	return s.changeMetadata(c, http.StatusCreated, true)
}

// merged is what PATCH makes of metadata: members that are given replace those
// that are there.
func merged(had, given map[string]any) map[string]any {
	out := maps.Clone(orEmptyMap(had))
	maps.Copy(out, given)
	return out
}

func (s *server) updateMetadata(c *call) (reply, error) {
	return s.changeMetadata(c, http.StatusOK, false)
}

func (s *server) changeMetadata(c *call, status int, replace bool) (reply, error) {
	var in metadataJSON
	if err := c.body(s.MaxBody, &in); err != nil {
		return reply{}, err
	}
	switch {
	case in.ProviderConfigKey == "":
		return reply{}, as(badBody, invalid("provider_config_key", "provider_config_key is missing"))
	case len(in.ConnectionID.ids) == 0:
		return reply{}, as(badBody, invalid("connection_id", "connection_id is missing"))
	case len(in.ConnectionID.ids) > maxMetadataIDs:
		return reply{}, as(badBody, invalid("connection_id", "connection_id holds %d ids; the most is %d", len(in.ConnectionID.ids), maxMetadataIDs))
	case in.Metadata == nil:
		return reply{}, as(badBody, invalid("metadata", "metadata is missing"))
	}
	if _, err := s.writeMetadata(c, in.ProviderConfigKey, in.ConnectionID.ids, in.Metadata, http.StatusBadRequest, replace); err != nil {
		return reply{}, err
	}
	return reply{status: status, body: in}, nil
}

// writeMetadata changes the metadata of all the connections, or of none when
// one is not there. It returns the last one's.
func (s *server) writeMetadata(c *call, key string, ids []string, given map[string]any, missing int, replace bool) (map[string]any, error) {
	var (
		i    syncline.Integration
		last map[string]any
	)
	err := s.Store.Update(c.Context(), store.Durable, func(tx store.Tx) (err error) {
		now := s.Clock.Now()
		e, err := tx.Environment(c.env.ID)
		if err != nil {
			return err
		}
		for n, id := range ids {
			var k syncline.Connection
			if i, k, err = connection(tx, c.env.ID, key, id, missing); err != nil {
				return err
			}
			if n == 0 {
				if err := checkMetadata(tx, &e, &i, given, replace); err != nil {
					return err
				}
			}
			k.UpdatedAt = now
			if replace {
				k.Metadata = given
			} else {
				k.Metadata = merged(k.Metadata, given)
			}
			last = k.Metadata
			if err := tx.UpdateConnection(&k); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.Hooks.ConnectionsChanged(c.env.ID, i.ID) // deliveries may be routed by metadata
	return last, nil
}

// setMetadataOfOne and updateMetadataOfOne are the deprecated endpoints whose
// body is the metadata itself.
func (s *server) setMetadataOfOne(c *call) (reply, error) {
	return s.metadataOfOne(c, http.StatusCreated, true)
}

func (s *server) updateMetadataOfOne(c *call) (reply, error) {
	return s.metadataOfOne(c, http.StatusOK, false)
}

func (s *server) metadataOfOne(c *call, status int, replace bool) (reply, error) {
	key := c.Header.Get("Provider-Config-Key")
	if key == "" {
		return reply{}, as(badHeaders, invalid("provider-config-key", "the header Provider-Config-Key is missing"))
	}
	var given map[string]any
	if err := c.body(s.MaxBody, &given); err != nil {
		return reply{}, err
	}
	if given == nil {
		return reply{}, as(badBody, invalid("", "the request body is null; it must be an object"))
	}
	last, err := s.writeMetadata(c, key, []string{c.PathValue("connectionId")}, given, http.StatusNotFound, replace)
	return reply{status: status, body: last}, err
}
