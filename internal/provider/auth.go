package provider

// AuthMode is how a connection's credentials look, in Nango's words.
type AuthMode string

// The auth modes.
const (
	AuthOAuth2     AuthMode = "OAUTH2"
	AuthOAuth2CC   AuthMode = "OAUTH2_CC" // client credentials of each customer
	AuthOAuth1     AuthMode = "OAUTH1"
	AuthAPIKey     AuthMode = "API_KEY"
	AuthBasic      AuthMode = "BASIC"
	AuthApp        AuthMode = "APP"      // an app's installation, by a signed JWT
	AuthCustom     AuthMode = "CUSTOM"   // an app's installation beside a user's OAuth
	AuthTBA        AuthMode = "TBA"      // requests signed with a token that was issued by hand
	AuthJWT        AuthMode = "JWT"      // a JWT that is signed with the customer's key
	AuthTwoStep    AuthMode = "TWO_STEP" // a token that is fetched with what the customer entered
	AuthSignature  AuthMode = "SIGNATURE"
	AuthAWSSigV4   AuthMode = "AWS_SIGV4"
	AuthBill       AuthMode = "BILL" // a session of Bill.com
	AuthInstall    AuthMode = "INSTALL_PLUGIN"
	AuthMCP        AuthMode = "MCP_OAUTH2"
	AuthMCPGeneric AuthMode = "MCP_OAUTH2_GENERIC"
	AuthAppStore   AuthMode = "APP_STORE"
	AuthNone       AuthMode = "NONE"
)

// The values of [Field.From].
const (
	FromUser           = "user"            // the customer enters it
	FromTokenResponse  = "token_response"  // it comes with the token
	FromPostConnection = "post_connection" // a call after connecting finds it
	FromCallback       = "callback"        // the redirect back brings it
	FromIntegration    = "integration"     // the app that is connected to has it
)

// FieldSources are what [Field.From] may be.
var FieldSources = []string{FromUser, FromTokenResponse, FromPostConnection, FromCallback, FromIntegration}

// Auth is how an API's credentials are obtained and kept. Strings are
// templates, as in [Proxy]; ${code}, ${random}, ${now} and the values of the JWT may stand
// in them too.
type Auth struct {
	AuthorizationURL          string            `yaml:"authorization_url"`
	AuthorizationURLFallbacks []string          `yaml:"authorization_url_fallbacks"` // while a variable of the one before is not set
	AuthorizationParams       map[string]string `yaml:"authorization_params"`
	// OmitParams are parameters of the authorization URL that the API does not take.
	OmitParams []string `yaml:"omit_params"`
	// ClientIDParam and CodeParam are other names of client_id, and of code in the
	// callback.
	ClientIDParam string `yaml:"client_id_param"`
	CodeParam     string `yaml:"code_param"`

	// Callback are the parameters of the redirect back that are kept, besides the code.
	Callback []string `yaml:"callback"`

	Scopes         []string `yaml:"scopes"`          // asked for when the integration names none
	ScopeSeparator string   `yaml:"scope_separator"` // before encoding; "" is a space
	PKCE           string   `yaml:"pkce"`            // supported, required or off; "" is not known

	TokenURL          string   `yaml:"token_url"`
	TokenURLFallbacks []string `yaml:"token_url_fallbacks"`
	// AppTokenURL is where an app's installation gets its token, where TokenURL is for users.
	AppTokenURL    string            `yaml:"app_token_url"`
	TokenMethod    string            `yaml:"token_method"`    // "" is POST
	TokenParams    map[string]string `yaml:"token_params"`    // beyond what the mode implies
	TokenParamsIn  string            `yaml:"token_params_in"` // body (default) or query
	TokenHeaders   map[string]string `yaml:"token_headers"`
	ClientAuth     string            `yaml:"client_auth"` // where client_id and client_secret go: body (default), basic, custom or private_key_jwt
	BodyFormat     string            `yaml:"body_format"` // of the token request: form (default), json, xml or query
	TokenResponse  *TokenResponse    `yaml:"token_response"`
	TokenLifetime  Lifetime          `yaml:"token_lifetime"`  // as documented
	AssumeLifetime Duration          `yaml:"assume_lifetime"` // when the API sends none
	RefreshMargin  Duration          `yaml:"refresh_margin"`  // how long before its end a token is renewed

	RefreshURL     string            `yaml:"refresh_url"` // "" is the token URL
	RefreshParams  map[string]string `yaml:"refresh_params"`
	RefreshHeaders map[string]string `yaml:"refresh_headers"`
	RefreshToken   *RefreshToken     `yaml:"refresh_token"`
	RevokeURL      string            `yaml:"revoke_url"`
	IntrospectURL  string            `yaml:"introspect_url"`

	OAuth1      *OAuth1    `yaml:"oauth1"`
	JWT         *JWT       `yaml:"jwt"`
	Assertion   *Assertion `yaml:"assertion"`
	Steps       []Step     `yaml:"steps"`              // requests after the token request, in their order
	Certificate string     `yaml:"client_certificate"` // "required": mutual TLS

	// Registration is how a client registers itself (MCP).
	Registration *Registration `yaml:"registration"`
	// Alternatives are other ways in, which are not used by themselves.
	Alternatives []Alternative `yaml:"alternatives"`
}

// TokenResponse says where the answer of the token request has what (dotted
// paths). "" is the standard's name, at the top.
type TokenResponse struct {
	AccessToken     string   `yaml:"access_token"` // "." is the whole answer, as text
	RefreshToken    string   `yaml:"refresh_token"`
	ExpiresIn       string   `yaml:"expires_in"`
	ExpiresInUnit   string   `yaml:"expires_in_unit"` // "" is seconds, or milliseconds
	ExpiresAt       string   `yaml:"expires_at"`
	UserAccessToken string   `yaml:"user_access_token"` // a second token, of the user
	Account         string   `yaml:"account"`           // the account that was connected
	OK              string   `yaml:"ok"`                // a boolean that tells success where the status does not
	Headers         []string `yaml:"headers"`           // of the answer that are kept
}

// RefreshToken is how refresh tokens behave.
type RefreshToken struct {
	Issued    *bool    `yaml:"issued"`     // nil: not known
	Rotates   string   `yaml:"rotates"`    // yes, no, may (or a setting of the app decides); "" is not known
	SingleUse bool     `yaml:"single_use"` // the one before is void once it was used
	Lifetime  Lifetime `yaml:"lifetime"`
	// Leeway is for how long the one before may be used again; 0: not known.
	Leeway Duration `yaml:"leeway"`
}

// OAuth1 is what the first version needs besides.
type OAuth1 struct {
	RequestURL      string            `yaml:"request_url"`
	RequestParams   map[string]string `yaml:"request_params"`
	RequestMethod   string            `yaml:"request_method"`   // "" is POST
	SignatureMethod string            `yaml:"signature_method"` // HMAC-SHA1, HMAC-SHA256, RSA-SHA1 or PLAINTEXT
	Realm           string            `yaml:"realm"`
}

// JWT is a token that is signed here, to be used itself or to fetch another.
type JWT struct {
	Algorithm string            `yaml:"algorithm"`  // RS256, ES256, HS256, PS256 or EdDSA
	Key       string            `yaml:"key"`        // template of the signing key
	KeyFormat string            `yaml:"key_format"` // of an HMAC key: "" is hex, or utf8
	Header    map[string]string `yaml:"header"`
	Claims    map[string]string `yaml:"claims"`
	ExpiresIn Duration          `yaml:"expires_in"`
	// IssuedBefore dates iat back, for clocks that differ.
	IssuedBefore Duration `yaml:"issued_before"`
}

// Assertion is a signed statement that stands for a password.
type Assertion struct {
	Type       string            `yaml:"type"` // saml2-bearer or jwt
	Key        string            `yaml:"key"`
	Issuer     string            `yaml:"issuer"`
	Subject    string            `yaml:"subject"`
	Audience   string            `yaml:"audience"`
	Recipient  string            `yaml:"recipient"`
	Attributes map[string]string `yaml:"attributes"`
	Header     map[string]string `yaml:"header"`
	Claims     map[string]string `yaml:"claims"`
	ExpiresIn  Duration          `yaml:"expires_in"`
}

// Step is a further request on the way to a token. Its templates may use
// ${stepN.x}: a member of the answer to the Nth request, from 1.
type Step struct {
	URL        string            `yaml:"url"`
	Method     string            `yaml:"method"` // "" is POST
	Params     map[string]string `yaml:"params"`
	Headers    map[string]string `yaml:"headers"`
	BodyFormat string            `yaml:"body_format"`
}

// Registration is how a client registers with an MCP server.
type Registration struct {
	Kind   string              `yaml:"kind"` // dynamic, static or cimd
	URL    string              `yaml:"url"`
	Params map[string][]string `yaml:"params"`
}

// Alternative is another way to authorize.
type Alternative struct {
	Title            string            `yaml:"title"`
	AuthMode         AuthMode          `yaml:"auth_mode"` // "" is the provider's
	AuthorizationURL string            `yaml:"authorization_url"`
	TokenURL         string            `yaml:"token_url"`
	TokenParams      map[string]string `yaml:"token_params"`
	ClientAuth       string            `yaml:"client_auth"`
	BodyFormat       string            `yaml:"body_format"`
	PKCE             string            `yaml:"pkce"`
	TokenLifetime    Lifetime          `yaml:"token_lifetime"`
	RefreshToken     *RefreshToken     `yaml:"refresh_token"`
}

// Sign is how each request is signed.
type Sign struct {
	Scheme  string `yaml:"scheme"`  // oauth1, aws-sigv4 or wsse
	Header  string `yaml:"header"`  // that carries the signature
	Service string `yaml:"service"` // of aws-sigv4
	Region  string `yaml:"region"`  // of aws-sigv4; a template
}
