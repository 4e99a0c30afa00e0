// Package provider is the catalogue of external APIs as data, and the one
// engine that verifies, answers and reads their webhooks by it. No provider has
// Go code of its own.
package provider

// Provider is one external API.
type Provider struct {
	Name        string   `yaml:"-"`
	DisplayName string   `yaml:"display_name"`
	AuthMode    AuthMode `yaml:"auth_mode"`
	DocsURL     string   `yaml:"docs_url"`
	Categories  []string `yaml:"categories"`
	// Confidence says how well auth and proxy are known: [ConfidenceHigh],
	// [ConfidenceMedium], [ConfidenceLow]; "" is not rated.
	Confidence string `yaml:"confidence"`
	// Environment is "sandbox" for what holds no real data; "" is production.
	Environment string `yaml:"environment"`
	// Auth is how credentials are obtained; nil when they are just entered.
	Auth *Auth `yaml:"auth"`
	// Credentials are what a customer enters, by the name that templates know
	// it by.
	Credentials map[string]Field `yaml:"credentials"`
	// ConnectionConfig are the variables of a connection, by their name in its
	// connection_config.
	ConnectionConfig map[string]Field `yaml:"connection_config"`
	Proxy            Proxy            `yaml:"proxy"`
	Verify           *Verify          `yaml:"verify"`  // nil: no call is known
	Webhook          *Webhook         `yaml:"webhook"` // nil: its webhooks are not known
}

// The values of [Provider.Confidence].
const (
	ConfidenceHigh   = "high"   // agrees with well-known documentation
	ConfidenceMedium = "medium" // in use elsewhere, and plausible
	ConfidenceLow    = "low"    // little is published
)

// Field is one thing that a connection has to be told: a credential or a
// variable.
type Field struct {
	Title       string `yaml:"title"` // for people
	Description string `yaml:"description"`
	// Pattern is a regular expression (RE2) for a form to check what is entered.
	Pattern string   `yaml:"pattern"`
	Example string   `yaml:"example"`
	Enum    []string `yaml:"enum"` // the values that there are; none: any
	// Default counts when the value is not set; nil: there is none. It may be "".
	Default  *string `yaml:"default"`
	Optional bool    `yaml:"optional"`
	Secret   bool    `yaml:"secret"` // not shown, not logged, sent to the API alone
	// From says where a variable comes from: one of [FieldSources], "" is user.
	From string `yaml:"from"`
	// Source says where in it: a path in the token response, the name of a query
	// parameter of the callback, or the call after connecting, in words.
	Source string `yaml:"source"`
}

// Proxy is how to call the API. Strings are templates, see [ParseTemplate]: of
// ${connectionConfig.x}, ${metadata.x} and, in Auth, Query and Body, of
// credentials (${accessToken}, ${apiKey}, ${username}, ${password},
// ${credentials.x}, ${clientId}, ${clientSecret}). An unset variable is an error
// that names it.
type Proxy struct {
	BaseURL string `yaml:"base_url"`
	// BaseURLFallbacks are tried in order while a variable of the one before is
	// not set.
	BaseURLFallbacks []string `yaml:"base_url_fallbacks"`
	// BaseURLDocumented is the vendor's own form, where BaseURL is what existing
	// functions count on. It is shown, not used.
	BaseURLDocumented string            `yaml:"base_url_documented"`
	Headers           map[string]string `yaml:"headers"` // sent with every request; the caller's win
	// Auth are the headers that carry the credentials; never sent to another host.
	Auth map[string]string `yaml:"auth"`
	// OptionalHeaders are sent when all their variables are set. One without
	// variables is a recommendation (mostly a version): it is shown and not sent,
	// since it could change what functions get.
	OptionalHeaders map[string]string `yaml:"optional_headers"`
	Query           map[string]string `yaml:"query"`
	// Body are members that are added to JSON bodies, where the caller did not set them.
	Body map[string]string `yaml:"body"`
	// ContentType is what the API wants JSON bodies to be called, when the caller
	// says nothing; "" is application/json.
	ContentType string `yaml:"content_type"`
	// Sign is how requests are signed; nil: they are not.
	Sign  *Sign `yaml:"sign"`
	Retry Retry `yaml:"retry"`
	// Paginate is how the API pages. It is what functions get that call paginate()
	// without saying how.
	Paginate *Paginate `yaml:"paginate"`
	// PaginateInherited, when not nil, takes its place: what existing functions count on,
	// and what their own settings are laid over.
	PaginateInherited *Paginate `yaml:"paginate_inherited"`
}

// Verify is a call that succeeds with working credentials and changes nothing.
type Verify struct {
	Method string `yaml:"method"` // "" is GET
	// Paths are below the base URL, with their query; any of them does.
	Paths   []string          `yaml:"paths"`
	URL     string            `yaml:"url"` // absolute, in place of Paths
	BaseURL string            `yaml:"base_url"`
	Headers map[string]string `yaml:"headers"`
	Body    string            `yaml:"body"` // JSON
}

// Retry is how the API says when to come back, and what is worth another attempt.
type Retry struct {
	// After names headers that hold seconds to wait or an HTTP date.
	After []string `yaml:"after"`
	// At names headers that hold the point in time to come back at, in ResetUnit.
	// The latest of several counts.
	At []string `yaml:"at"`
	// Reset names headers that hold how long it is until the budget is filled
	// again, in ResetUnit.
	Reset []string `yaml:"reset"`
	// ResetUnit is the unit of At and Reset; "" tells it from the value.
	ResetUnit string `yaml:"reset_unit"`
	// RemainingZero names a header that, at 0 on a 403 or a status of Codes, says
	// that the refusal is a rate limit.
	RemainingZero string `yaml:"remaining_zero"`
	// Codes are the statuses that are worth another attempt ("409", "5xx",
	// "500-502"); none: 429 and 5xx. A 429 always is one.
	Codes []string `yaml:"codes"`
	// InBody is where an answer's JSON says when to come back.
	InBody *RetryInBody `yaml:"in_body"`
	// Hint names a header in which the API says by true or false whether another
	// attempt is worth it.
	Hint string `yaml:"hint"`
	// Wait is how long to wait after a rate limit when the answer does not say; 0:
	// as after any failure.
	Wait Duration `yaml:"wait"`
	// Usage names headers that tell people about the budget; nothing acts on them.
	Usage []string `yaml:"usage"`
}

// The units of [Retry.ResetUnit].
const (
	ResetEpochSeconds      = "epoch_s"
	ResetEpochMilliseconds = "epoch_ms"
	ResetEpochMicroseconds = "epoch_us"
	ResetISO8601           = "iso8601"
	ResetSecondsLeft       = "seconds_left"
	ResetMillisecondsLeft  = "ms_left"
)

// RetryInBody finds the time to come back in the JSON of a refusal. When it is
// there, the refusal is a rate limit, whatever its status.
type RetryInBody struct {
	Path string `yaml:"path"` // of a text or a number, in gjson's syntax
	// Pattern is a regular expression whose first group is the time: a date, or
	// a number of seconds to wait; with At, a number is a Unix time. "" takes the
	// whole value.
	Pattern string `yaml:"pattern"`
	At      bool   `yaml:"at"`
}

// Webhook is how the API's webhooks are verified and read.
type Webhook struct {
	// Signatures are alternatives. The first whose header is there decides, so
	// that a wrong signature cannot be made good by a weaker one; none refuses all.
	Signatures []Signature `yaml:"verify" json:"verify,omitempty"`
	// Type says where the event type is; the first source that has a value wins.
	Type []Source `yaml:"type" json:"type,omitempty"`
	// DeliveryID says where the provider's id of the delivery is.
	DeliveryID []Source `yaml:"delivery_id" json:"delivery_id,omitempty"`
	// DedupeBody, when not zero, takes equal bodies without a delivery id as one
	// delivery within this time; at most an hour.
	DedupeBody Duration `yaml:"dedupe_body" json:"dedupe_body,omitempty"`
	// Match are the ways to find the connections, in order. The first whose
	// value some connection has decides; one that yields no value, or a value
	// that no connection has, falls through to the next.
	Match []Match `yaml:"match" json:"match,omitempty"`
	// MatchAll sends every delivery to all connections; only where the API has
	// one account per integration.
	MatchAll bool `yaml:"match_all" json:"match_all,omitempty"`
	// OrderKey names the object an event is about; several are joined with #,
	// and there is no key unless all have a value.
	OrderKey []Source `yaml:"order_key" json:"order_key,omitempty"`
	// Payload is how to parse the body: "json" (default), or "json_or_form:payload",
	// a form whose field holds the JSON when the content type says form.
	Payload string `yaml:"payload" json:"payload,omitempty"`
	// Confidence says what the verification rests on: "published vector", "cited document" or "unverified".
	Confidence string `yaml:"confidence" json:"confidence,omitempty"`
	DocsURL    string `yaml:"docs_url" json:"docs_url,omitempty"`
}

// Signature is one way in which a delivery is signed.
type Signature struct {
	Scheme   string `yaml:"scheme" json:"scheme"`               // hmac-sha256, hmac-sha1, token, none
	Encoding string `yaml:"encoding" json:"encoding,omitempty"` // hex or base64; of the hmac schemes
	Header   string `yaml:"header" json:"header,omitempty"`     // that carries the signature
	Prefix   string `yaml:"prefix" json:"prefix,omitempty"`     // of the header's value
	// Format is how the header's value holds the signature: "" is the value
	// itself; "pairs" is "t=…,v1=…,v1=…", of which any of those named
	// SignatureKey may match.
	Format       string `yaml:"format" json:"format,omitempty"`
	SignatureKey string `yaml:"signature_key" json:"signature_key,omitempty"`
	// Signed is the template of the signed content, of {raw_body}, {timestamp},
	// {method}, {url} (the public URL with path and query) and {header:name};
	// default "{raw_body}".
	Signed string `yaml:"signed" json:"signed,omitempty"`
	// Timestamp says where the signing time is: the name of a header, the name of
	// a pair in the format "pairs", or "body:path.to.value". TimestampUnit is its
	// unit: "s" (Unix seconds, the default), "ms" or "iso8601"; Tolerance is how
	// far it may be from now, either way.
	Timestamp     string   `yaml:"timestamp" json:"timestamp,omitempty"`
	TimestampUnit string   `yaml:"timestamp_unit" json:"timestamp_unit,omitempty"`
	Tolerance     Duration `yaml:"tolerance" json:"tolerance,omitempty"`
}

// Source is a place in a delivery: "header:x-github-event", "body:repository.id"
// (a gjson path) or "query:hook".
type Source string

// Match finds connections: the value at From equals the connection's Property
// ("connection_config.x", "metadata.x", "tags.x" or "connection_id").
type Match struct {
	From Source `yaml:"from" json:"from"`
	// Without is an ending that is taken off the value, where it has it.
	Without  string   `yaml:"without" json:"without,omitempty"`
	Property []string `yaml:"property" json:"property"`
}
