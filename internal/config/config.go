// Package config owns Syncline's settings: what they are, their defaults and
// bounds, where each value came from, and the reference page that is made from
// the tags of [Config]. It knows nothing of what the settings are used for, and
// it never prints a secret.
package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"syncline"
)

//go:generate go test . -run ^TestReferencePage$ -update

// Config is every setting of the server. [Load] fills and checks it.
//
// Tags: group is the heading in the reference; flag is the name, from which the
// variable follows (data-dir: --data-dir and SYNCLINE_DATA_DIR); default, min
// and max are written as users write them; form names what is expected; help
// describes the setting. A field with env:"only" has no flag, because a
// command line can be read by other users of the machine. also names another
// variable, which counts when the setting's own is not set.
type Config struct {
	Listen               string        `group:"Server" flag:"listen" default:"127.0.0.1:3003" form:"host:port" help:"Address that the server listens on. Port 0 takes a free one."`
	PublicURL            string        `group:"Server" flag:"public-url" default:"" form:"URL" help:"Address under which external APIs reach the server; webhook URLs begin with it. Without it, it is made from the listen address."`
	AllowPrivateNetworks bool          `group:"Server" flag:"allow-private-networks" default:"false" help:"Let functions and the proxy call private, loopback and link-local addresses. For development only."`
	ShutdownTimeout      time.Duration `group:"Server" flag:"shutdown-timeout" default:"30s" min:"1s" max:"1h" help:"How long a stop waits for runs to finish before they are released to run again at the next start."`
	LogLevel             string        `group:"Server" flag:"log-level" default:"info" form:"debug|info|warn|error" help:"Least severe messages that are logged."`
	LogFormat            string        `group:"Server" flag:"log-format" default:"text" form:"text|json" help:"How log lines are written, to standard error."`

	DataDir         string `group:"Data" flag:"data-dir" default:"./.syncline" form:"directory" help:"Where the embedded databases and the key files are. Made when absent; one server at a time can use it. With a Postgres database, only the key files are there."`
	DatabaseURL     DSN    `group:"Data" flag:"database-url" also:"DATABASE_URL" default:"" form:"postgres://…" help:"Postgres database that holds everything, for one server or several. Without it, the data is in an embedded SQLite in the data directory. It may hold a password, which other users of the machine see in a flag: prefer the variable."`
	DatabaseReadURL DSN    `group:"Data" flag:"database-read-url" default:"" form:"postgres://…" help:"Replica of that database: reads of records go to it, as far as it has caught up."`
	EncryptionKey   Secret `group:"Data" flag:"encryption-key" env:"only" default:"" form:"base64" help:"Key that seals credentials and secrets at rest: 32 bytes in base64. Several, separated by commas, open what older ones sealed; the first one seals. Without it, a key is made and kept in the data directory. Servers that share a database need the same."`
	SealRecords     bool   `group:"Data" flag:"seal-records" default:"false" help:"Seal the payloads of records, and of their superseded versions, with the encryption key; ids, times and hashes stay plain. Those that are stored already are sealed in the background, or turned back into plain text when it is off."`

	WebhookBodyLimit  Size `group:"Size limits" flag:"webhook-body-limit" default:"25MiB" min:"1KiB" max:"1GiB" help:"Largest webhook body that is taken."`
	RequestBodyLimit  Size `group:"Size limits" flag:"request-body-limit" default:"10MiB" min:"1KiB" max:"1GiB" help:"Largest body of a request to the HTTP API."`
	RecordsPageLimit  Size `group:"Size limits" flag:"records-page-limit" default:"32MiB" min:"64KiB" max:"1GiB" help:"Size beyond which a page of GET /records ends early, with a next_cursor. A page has at least one record."`
	DeployBodyLimit   Size `group:"Size limits" flag:"deploy-body-limit" default:"64MiB" min:"1KiB" max:"1GiB" help:"Largest deployment: all functions of an environment are deployed by one request."`
	ResponseBodyLimit Size `group:"Size limits" flag:"response-body-limit" default:"100MiB" min:"1KiB" max:"1GiB" help:"Largest body that an external API may answer a function or the proxy with."`

	InboxMaxBytes    Size          `group:"Inbox and retention" flag:"inbox-max-bytes" default:"10GiB" min:"1MiB" help:"Size of the inbox beyond which webhooks are answered with 503, so that the sender tries again later."`
	InboxMinFreeDisk Size          `group:"Inbox and retention" flag:"inbox-min-free-disk" default:"512MiB" help:"Free disk space below which webhooks are answered with 503."`
	InboxRetention   time.Duration `group:"Inbox and retention" flag:"inbox-retention" default:"30d" min:"1h" help:"How long raw deliveries are kept after they ended; within it they can be replayed and redeliveries are recognised."`
	RunRetention     time.Duration `group:"Inbox and retention" flag:"run-retention" default:"15d" min:"1h" help:"How long runs and their logs are kept."`
	ActionRetention  time.Duration `group:"Inbox and retention" flag:"action-retention" default:"7d" min:"1h" help:"How long the results of asynchronous actions are kept for GET /action/{id}."`
	ParkedExpiry     time.Duration `group:"Inbox and retention" flag:"parked-expiry" default:"7d" min:"1m" help:"How long a delivery that matches no connection waits for one."`

	MassDeletePercent int `group:"Inbox and retention" flag:"mass-delete-percent" default:"50" min:"0" max:"100" help:"When delete tracking finds more than this part of a model's live records missing (in percent), and more than --mass-delete-records, the deletes are held until they are confirmed (syncline deletes). 0 holds nothing."`
	MassDeleteRecords int `group:"Inbox and retention" flag:"mass-delete-records" default:"100" min:"0" help:"Deletes of one poll up to this many are never held."`

	Workers           int           `group:"Functions" flag:"workers" default:"2" min:"1" max:"256" help:"Worker processes of one environment. They are started on demand and stopped when idle."`
	WorkerSlots       int           `group:"Functions" flag:"worker-slots" default:"8" min:"1" max:"1024" help:"Runs that one worker process has at a time."`
	WorkerMemoryLimit Size          `group:"Functions" flag:"worker-memory-limit" default:"2GiB" min:"64MiB" help:"Most memory that one worker process may use. One that uses more is ended; its runs are tried again."`
	Node              string        `group:"Functions" flag:"node" default:"node" form:"PATH" help:"Node.js, 20 or newer, that runs the functions of the engine node: a file, or a name that is looked up in PATH. Without one such functions are refused when they are deployed."`
	LaneConcurrency   int           `group:"Functions" flag:"lane-concurrency" default:"64" min:"1" max:"10000" help:"Lanes whose webhook events are handled at a time."`
	PollConcurrency   int           `group:"Functions" flag:"poll-concurrency" default:"16" min:"1" max:"10000" help:"Polls that run at a time."`
	PollWallLimit     time.Duration `group:"Functions" flag:"poll-wall-limit" default:"30m" min:"1s" max:"24h" help:"Longest that one poll may run. A poll that saves checkpoints goes on from the newest one."`
	WebhookWallLimit  time.Duration `group:"Functions" flag:"webhook-wall-limit" default:"1m" min:"1s" max:"1h" help:"Longest that one call of onWebhook may run."`
	ActionWallLimit   time.Duration `group:"Functions" flag:"action-wall-limit" default:"15m" min:"1s" max:"24h" help:"Longest that one action may run, also one whose caller waits for it."`
	OnEventWallLimit  time.Duration `group:"Functions" flag:"on-event-wall-limit" default:"1m" min:"1s" max:"15m" help:"Longest that one on-event function may run. The caller that makes or deletes a connection waits for validate-connection and pre-connection-deletion."`
	ActionConcurrency int           `group:"Functions" flag:"action-concurrency" default:"16" min:"1" max:"10000" help:"Asynchronous actions and post-connection-creation functions that run at a time in one process."`
	ActionsOfOne      int           `group:"Functions" flag:"environment-action-concurrency" default:"4" min:"1" max:"10000" help:"Of these, how many of one environment run at a time, over all processes."`
	RunCPULimit       time.Duration `group:"Functions" flag:"run-cpu-limit" default:"1m" min:"100ms" max:"24h" help:"Longest that one run may compute; waiting for external APIs is not counted."`
	RunHostCallsLimit int           `group:"Functions" flag:"run-host-calls-limit" default:"100000" min:"1" help:"Most calls of methods of nango, HTTP requests included, that one run may make."`
	RunLogLimit       int           `group:"Functions" flag:"run-log-limit" default:"10000" min:"1" help:"Most lines of its log that are kept of one run; further ones are counted."`
	RunOutputLimit    Size          `group:"Functions" flag:"run-output-limit" default:"16MiB" min:"1KiB" max:"128MiB" help:"Largest value that a function may return."`
	RunMemoryLimit    Size          `group:"Functions" flag:"run-memory-limit" default:"256MiB" min:"16MiB" max:"3GiB" help:"Most memory that one run may use."`

	PollWallMax     time.Duration `group:"Functions" flag:"poll-wall-max" default:"24h" min:"1s" max:"7d" help:"What an environment or a function may raise the wall time of its polls to. The limit itself is always allowed; so it is for the other maximums."`
	WebhookWallMax  time.Duration `group:"Functions" flag:"webhook-wall-max" default:"15m" min:"1s" max:"24h" help:"What an environment or a function may raise the wall time of onWebhook to."`
	RunCPUMax       time.Duration `group:"Functions" flag:"run-cpu-max" default:"30m" min:"100ms" max:"24h" help:"What an environment or a function may raise the computing time of its runs to."`
	ActionWallMax   time.Duration `group:"Functions" flag:"action-wall-max" default:"1h" min:"1s" max:"24h" help:"What an environment or a function may raise the wall time of its actions to."`
	RunMemoryMax    Size          `group:"Functions" flag:"run-memory-max" default:"1GiB" min:"16MiB" max:"3GiB" help:"What an environment or a function may raise the memory of its runs to."`
	RunHostCallsMax int           `group:"Functions" flag:"run-host-calls-max" default:"1000000" min:"1" help:"What an environment or a function may raise the host calls of its runs to."`
	RunLogMax       int           `group:"Functions" flag:"run-log-max" default:"100000" min:"1" help:"What an environment or a function may raise the kept lines of its logs to."`
	RunOutputMax    Size          `group:"Functions" flag:"run-output-max" default:"64MiB" min:"1KiB" max:"128MiB" help:"What an environment or a function may raise the size of what it returns to."`
	StallRuns       int           `group:"Functions" flag:"stall-runs" default:"3" min:"1" max:"1000" help:"Polls in a row that were cut at a limit and left the checkpoint where it was, after which the sync counts as stalled."`

	GoEnvironments  string `group:"Functions" flag:"go-environments" default:"" form:"names" help:"Environments that functions in Go, compiled into the binary, are deployed to when it starts, separated by commas; all by default."`
	GoDeleteMissing bool   `group:"Functions" flag:"go-delete-missing" default:"false" help:"At the start, delete functions in Go that are deployed and not compiled into this binary, as a deployment deletes functions. Without it they stay, and their runs wait for a process that has them."`

	ConnectionConcurrency int           `group:"Calls to external APIs" flag:"connection-concurrency" default:"16" min:"1" max:"10000" help:"Requests of one connection that are under way at a time. More wait: those of webhooks go before those of actions and the proxy, and these before those of polls."`
	ConnectionRate        int           `group:"Calls to external APIs" flag:"connection-rate" default:"0" min:"0" max:"100000" help:"Requests of one connection that begin in one second. 0 has no limit but what the external API itself says."`
	RetryMaxWait          time.Duration `group:"Calls to external APIs" flag:"retry-max-wait" default:"10m" min:"1s" max:"24h" help:"Longest that a request waits before it is tried again. When an external API asks for more, its refusal is handed on at once."`
	ProxyTimeout          time.Duration `group:"Calls to external APIs" flag:"proxy-timeout" default:"5m" min:"1s" max:"24h" help:"Longest that one attempt of a request may take, body included; of a request through /proxy, until the headers of the answer."`
	ProxyIdleTimeout      time.Duration `group:"Calls to external APIs" flag:"proxy-idle-timeout" default:"2m" min:"1s" max:"24h" help:"Longest that nothing may come of an answer's body."`
	ProxyBodyLimit        Size          `group:"Calls to external APIs" flag:"proxy-body-limit" default:"10GiB" min:"1KiB" help:"Largest body that passes through /proxy, either way. It is streamed and takes no memory."`
	ProxyMemoryLimit      Size          `group:"Calls to external APIs" flag:"proxy-memory-limit" default:"256MiB" min:"2MiB" help:"Most memory that the answers which functions are being handed take together. More wait. It has to be more than --response-body-limit."`
	BaseURLOverride       bool          `group:"Calls to external APIs" flag:"base-url-override" default:"true" help:"Let functions and callers of /proxy name another base URL than the integration's (baseUrlOverride). The connection's credentials are sent there."`
	DenyHosts             string        `group:"Calls to external APIs" flag:"deny-hosts" default:"" form:"host,.domain" help:"Hosts that are never called, separated by commas. One that begins with a dot stands for all hosts below it."`

	EventMaxAttempts int           `group:"Retries" flag:"event-max-attempts" default:"5" min:"1" max:"100" help:"How often a webhook event is tried when its handler fails by itself, before it is dead and its lane goes on."`
	LaneMaxWait      time.Duration `group:"Retries" flag:"lane-max-wait" default:"24h" min:"1s" help:"How long a lane waits for an external API that is unavailable before the event at its head is dead."`
	NotifyTimeout    time.Duration `group:"Retries" flag:"notify-timeout" default:"20s" min:"1s" max:"5m" help:"How long the user's app has to answer a notification before it is tried again."`

	// SecretKeys are the API keys that are fixed by variables, by environment
	// name: SYNCLINE_SECRET_KEY_DEV fixes that of "dev".
	SecretKeys map[string]Secret
}

// RunLimits are the limits of a run that does not say others, and what it may say
// at most; those of wall time are of polls.
func (c *Config) RunLimits() (def, most syncline.RunLimits) {
	def = syncline.RunLimits{
		Wall: c.PollWallLimit, CPU: c.RunCPULimit, Memory: int64(c.RunMemoryLimit), HostCalls: c.RunHostCallsLimit, LogLines: c.RunLogLimit,
		Output: int64(c.RunOutputLimit),
	}
	return def, syncline.RunLimits{
		Wall: max(c.PollWallMax, def.Wall), CPU: max(c.RunCPUMax, def.CPU), Memory: min(max(int64(c.RunMemoryMax), def.Memory), int64(c.WorkerMemoryLimit)),
		HostCalls: max(c.RunHostCallsMax, def.HostCalls), LogLines: max(c.RunLogMax, def.LogLines), Output: max(int64(c.RunOutputMax), def.Output),
	}
}

// SecretKeyPrefix begins the variables that fix API keys; the rest, in lower
// case, is the name of the environment.
const SecretKeyPrefix = "SYNCLINE_SECRET_KEY_"

// minSecretKey is the least length of an API key, in characters: it is all
// that stands between the network and an environment's credentials.
const minSecretKey = 16

// Default returns the configuration of a server that is started without flags
// and variables.
func Default() Config {
	var c Config
	for _, s := range Settings() {
		if err := s.set(&c, s.Default); err != nil {
			panic("config: default of --" + s.Flag + ": " + err.Error())
		}
	}
	c.derive()
	return c
}

// derive fills what follows from other settings and reports which it filled.
func (c *Config) derive() (flags []string) {
	if _, port, err := net.SplitHostPort(c.Listen); c.PublicURL == "" && err == nil && port != "0" {
		c.PublicURL = PublicURLOf(c.Listen)
		flags = append(flags, "public-url")
	}
	c.PublicURL = strings.TrimRight(c.PublicURL, "/")
	return flags
}

// PublicURLOf is the public URL of a server that listens on address
// (host:port) and has none set. With port 0 it is known only once the server
// listens; until then [Config.PublicURL] is "".
func PublicURLOf(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "http://" + address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// SecretKeyFile is where a server keeps the API key that it made for an
// environment at first start, for the commands that run beside it.
func SecretKeyFile(dataDir, environment string) string {
	return filepath.Join(dataDir, environment+".key")
}

// Validate checks every setting and returns all that is wrong in one error
// with code invalid_request, which names the flag, the variable and the
// expected form of each.
func (c *Config) Validate() error {
	var errs []error
	for _, s := range Settings() {
		if err := s.check(c); err != nil {
			errs = append(errs, err)
		}
	}
	errs = append(errs, c.checkAddresses()...)
	if c.RunMemoryLimit > c.WorkerMemoryLimit {
		errs = append(errs, fmt.Errorf("%s: %s is more than a whole worker may use, which is %s by %s",
			settingOf("run-memory-limit").Name(), c.RunMemoryLimit, c.WorkerMemoryLimit, settingOf("worker-memory-limit").Name()))
	}
	if c.ProxyMemoryLimit <= c.ResponseBodyLimit {
		errs = append(errs, fmt.Errorf("%s: %s is not more than one response may have, which is %s by %s",
			settingOf("proxy-memory-limit").Name(), c.ProxyMemoryLimit, c.ResponseBodyLimit, settingOf("response-body-limit").Name()))
	}
	errs = append(errs, c.checkSecretKeys()...)
	return invalid(errs)
}

// DeniedHosts lists the hosts of DenyHosts.
func (c *Config) DeniedHosts() []string {
	var hosts []string
	for host := range strings.SplitSeq(c.DenyHosts, ",") {
		if host = strings.ToLower(strings.TrimSpace(host)); host != "" {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

func (c *Config) checkAddresses() (errs []error) {
	if _, err := net.ResolveTCPAddr("tcp", portOnly(c.Listen)); err != nil {
		errs = append(errs, settingOf("listen").wrong(c.Listen, "a host and a port, as 127.0.0.1:3003 or :3003"))
	}
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			errs = append(errs, settingOf("public-url").wrong(c.PublicURL, "an absolute URL without user and query, as https://syncline.example.com"))
		}
	}
	for _, flag := range []string{"database-url", "database-read-url"} {
		s := settingOf(flag)
		if d := s.value(c).(DSN); d != "" && !d.valid() {
			errs = append(errs, s.wrong("", "a Postgres URL, as postgres://user:password@host:5432/database"))
		}
	}
	if c.DatabaseReadURL != "" && c.DatabaseURL == "" {
		errs = append(errs, fmt.Errorf("%s: there is no database that it could be a replica of; set %s",
			settingOf("database-read-url").Name(), settingOf("database-url").Name()))
	}
	if c.DataDir == "" {
		errs = append(errs, settingOf("data-dir").wrong(c.DataDir, "a directory"))
	}
	return errs
}

// portOnly drops the host: whether it resolves is known when it is listened
// on, and looking it up here could block.
func portOnly(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return ":" + port
}

func (c *Config) checkSecretKeys() (errs []error) {
	owners := map[Secret]string{}
	for _, env := range sortedKeys(c.SecretKeys) {
		key, variable := c.SecretKeys[env], SecretKeyPrefix+strings.ToUpper(env)
		switch {
		case !validEnvironment(env):
			errs = append(errs, fmt.Errorf("%s: the part after %s names an environment; it has to be letters, digits and single underscores and begin with a letter", variable, SecretKeyPrefix))
		case len(key) < minSecretKey || strings.ContainsFunc(string(key), func(r rune) bool { return r <= ' ' || r > '~' }):
			errs = append(errs, fmt.Errorf("%s: a key has at least %d characters, without spaces, all ASCII; make one with: uuidgen", variable, minSecretKey))
		case owners[key] != "":
			errs = append(errs, fmt.Errorf("%s: is the same key as %s; a key identifies one environment", variable, owners[key]))
		}
		owners[key] = variable
	}
	return errs
}

func validEnvironment(name string) bool {
	if name == "" || len(name) > 64 || name[0] < 'a' || name[0] > 'z' || strings.Contains(name, "__") || strings.HasSuffix(name, "_") {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_')
	})
}

// invalid joins what is wrong into one error, a line each; nil when nothing is.
func invalid(errs []error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) == 0 {
		return nil
	}
	return syncline.Errorf(syncline.CodeInvalid, "%w", errors.Join(errs...)).
		WithHint("see every setting with: syncline config --help")
}
