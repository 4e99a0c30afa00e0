package fn

import "encoding/json"

// The host methods: what the JavaScript side of the host module asks of Go.
// Everything that needs no state of ours (pagination, axios-shaped responses
// and errors, Map results) is done in JavaScript on top of these.
const (
	// MethodHTTP makes one request through the proxy: [HTTPArgs] → [HTTPResult].
	// Any status is a result; the JavaScript side turns a status outside 2xx
	// into an axios error. No answer at all is a [HostError] with NetCode.
	MethodHTTP = "http"
	// MethodBatchSave, MethodBatchUpdate and MethodBatchDelete take
	// {"model", "records": [...]} and return true. Concurrent calls of one run
	// are run one after another in call order.
	MethodBatchSave   = "batchSave"
	MethodBatchUpdate = "batchUpdate"
	MethodBatchDelete = "batchDelete"
	// MethodSetMergingStrategy takes {"model", "strategy", "field"} and returns
	// null; field is for keep_newest.
	MethodSetMergingStrategy = "setMergingStrategy"
	// MethodGetRecordsByIDs takes {"model", "ids"} and returns {id: record}.
	MethodGetRecordsByIDs = "getRecordsByIds"
	// MethodTrackDeletesStart and MethodTrackDeletesEnd take {"model"} and return
	// null. A host that does not track deletes refuses them.
	MethodTrackDeletesStart = "trackDeletesStart"
	MethodTrackDeletesEnd   = "trackDeletesEnd"
	// MethodGetCheckpoint returns the checkpoint or null.
	MethodGetCheckpoint = "getCheckpoint"
	// MethodSaveCheckpoint takes {"checkpoint": {...}} and returns null.
	MethodSaveCheckpoint = "saveCheckpoint"
	// MethodClearCheckpoint returns null.
	MethodClearCheckpoint = "clearCheckpoint"
	// MethodGetMetadata returns the connection's metadata ({} when there is none).
	MethodGetMetadata = "getMetadata"
	// MethodSetMetadata and MethodUpdateMetadata take {"metadata": {...}} and return null.
	MethodSetMetadata    = "setMetadata"
	MethodUpdateMetadata = "updateMetadata"
	// MethodGetConnection takes {"provider_config_key", "connection_id"} (both
	// default to the run's own), "refresh_token" (false: do not hand out a
	// refresh token) and "force_refresh", and returns the connection in the shape
	// of GET /connections/{id}, credentials included.
	MethodGetConnection = "getConnection"
	// MethodGetIntegration takes {"include": ["credentials", "webhook"]} and
	// returns the run's integration in the shape of GET /integrations/{key}.
	MethodGetIntegration = "getIntegration"
	// MethodGetEnvironmentVariables returns [{"name", "value"}].
	MethodGetEnvironmentVariables = "getEnvironmentVariables"
	// MethodGetWebhookURL returns the webhook URL of the integration as a
	// string, or null where the provider sends none.
	MethodGetWebhookURL = "getWebhookURL"
	// MethodTriggerAction takes {"provider_config_key", "connection_id", "name",
	// "input"} and returns the action's output.
	MethodTriggerAction = "triggerAction"
	// MethodTriggerSync takes {"provider_config_key", "connection_id", "name",
	// "variant", "sync_mode"} (incremental, full_refresh or
	// full_refresh_and_clear_cache) and returns null.
	MethodTriggerSync = "triggerSync"
	// MethodStartSync takes {"provider_config_key", "connection_id", "syncs":
	// [{"name", "variant"}]} and returns null.
	MethodStartSync = "startSync"
	// MethodTryAcquireLock takes {"key", "ttl_ms"} and returns whether the run now
	// holds the lock of that key among the functions of its connection's environment.
	MethodTryAcquireLock = "tryAcquireLock"
	// MethodReleaseLock takes {"key"} and returns whether the run held it.
	MethodReleaseLock = "releaseLock"
	// MethodReleaseAllLocks returns null. It is done by itself when the run ends.
	MethodReleaseAllLocks = "releaseAllLocks"
	// MethodListRecords takes {"model", "cursor"} and returns one page of the
	// live records: {"records": [...], "next_cursor": string or null}. The
	// JavaScript side makes a generator of it.
	MethodListRecords = "listRecords"
	// MethodDeletePrevious is deleteRecordsFromPreviousExecutions: it takes
	// {"model"}, ends the delete tracking that began with the run, and returns
	// {"deletedKeys": [...]}.
	MethodDeletePrevious = "deleteRecordsFromPreviousExecutions"
	// MethodUncontrolledFetch takes [FetchArgs] and returns [HTTPResult], its
	// body always in base64. It has no credentials and no retries; the outbound
	// policy holds.
	MethodUncontrolledFetch = "uncontrolledFetch"
)

// HTTPArgs is a request as a function makes it.
type HTTPArgs struct {
	Method   string            `json:"method"` // upper case
	Endpoint string            `json:"endpoint"`
	Headers  map[string]string `json:"headers,omitempty"`
	// Query is the encoded query string made from params, without "?"; it is
	// added to what the endpoint has.
	Query string `json:"query,omitempty"`
	// Body is the request body as text, or as base64 when BodyEncoding says so.
	Body         *string `json:"body,omitempty"`
	BodyEncoding string  `json:"bodyEncoding,omitempty"` // "" (UTF-8) or "base64"
	ContentType  string  `json:"contentType,omitempty"`  // default when Headers has none
	Retries      int     `json:"retries,omitempty"`
	RetryOn      []int   `json:"retryOn,omitempty"`
	// RetryHeader names headers that say when to come back, before the provider's own.
	RetryHeader     *RetryHeader `json:"retryHeader,omitempty"`
	BaseURLOverride string       `json:"baseUrlOverride,omitempty"`
	// ResponseType "arraybuffer" asks for a base64 body.
	ResponseType string `json:"responseType,omitempty"`
	// Decompress is false to get the body as the upstream encoded it.
	Decompress *bool `json:"decompress,omitempty"`
	// TimeoutMS bounds one attempt, in milliseconds; 0 takes the proxy's own.
	TimeoutMS int64 `json:"timeoutMs,omitempty"`
	// ProviderConfigKey and ConnectionID choose another connection of the
	// environment; "" is the run's own.
	ProviderConfigKey string `json:"providerConfigKey,omitempty"`
	ConnectionID      string `json:"connectionId,omitempty"`
}

// RetryHeader are headers of answers that say when to come back.
type RetryHeader struct {
	At    HeaderNames `json:"at,omitempty"`    // that hold a point in time: Unix time or date
	After HeaderNames `json:"after,omitempty"` // that hold seconds to wait, or a date
}

// HeaderNames are names of headers. In JSON, one alone may be a string.
type HeaderNames []string

// UnmarshalJSON reads a string or an array of strings.
func (n *HeaderNames) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		if *n = nil; one != "" {
			*n = HeaderNames{one}
		}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(n))
}

// FetchArgs is a request that has nothing to do with the connection.
type FetchArgs struct {
	URL          string            `json:"url"`
	Method       string            `json:"method"` // upper case
	Headers      map[string]string `json:"headers,omitempty"`
	Body         *string           `json:"body,omitempty"`
	BodyEncoding string            `json:"bodyEncoding,omitempty"` // "" (UTF-8) or "base64"
}

// HTTPResult is the answer to a request.
type HTTPResult struct {
	Status     int               `json:"status"`
	StatusText string            `json:"statusText"`
	Headers    map[string]string `json:"headers"` // lower-case names; several values joined by ", "
	Body       string            `json:"body"`
	Encoding   string            `json:"encoding,omitempty"` // "" (UTF-8) or "base64"
	URL        string            `json:"url"`                // final URL, without credentials
	// RateLimited says that the API refused for now, also where the status
	// alone (403) does not tell.
	RateLimited bool `json:"rateLimited,omitempty"`
	// Reason says why no further attempt was made although one was asked for: the
	// API wants a longer wait than there may be, say. It is part of the message of
	// the error that the function gets.
	Reason string `json:"reason,omitempty"`

	release func()
}

// HoldUntilReleased makes release part of r: what holds the memory of the body.
func (r *HTTPResult) HoldUntilReleased(release func()) { r.release = release }

// Release is called once by whoever has handed the result on.
func (r *HTTPResult) Release() {
	if r.release != nil {
		r.release()
	}
}

// BatchArgs is the argument of the batch methods.
type BatchArgs struct {
	Model   string            `json:"model"`
	Records []json.RawMessage `json:"records"`
}
