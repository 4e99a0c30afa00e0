package config

import (
	"fmt"
	"strings"
)

// Reference is the page docs/configuration.md, made from the tags of [Config].
func Reference() string {
	var b strings.Builder
	b.WriteString(`# Configuration

<!-- Made from the tags of internal/config.Config by "make docs". Do not edit. -->

Every setting is a flag of ` + "`syncline serve`" + ` and a variable. A flag wins over a variable, a variable over the default. A variable that is
empty counts as not set. ` + "`syncline config`" + ` prints the effective values and where each came from; it takes the same flags.

**Durations** are written ` + "`500ms`, `30s`, `5m`, `2h`, `7d`" + `. **Sizes** are written ` + "`512KB`, `25MiB`, `10GB`" + `: 1 MB is 1,000,000 bytes and 1 MiB is 1,048,576.
`)
	group := ""
	for _, s := range Settings() {
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(&b, "\n## %s\n\n| flag | variable | default | |\n|---|---|---|---|\n", group)
		}
		flag := "`--" + s.Flag + "`"
		if s.EnvOnly {
			flag = "none: it is a secret"
		}
		value := "none"
		if s.Default != "" {
			value = "`" + s.Default + "`"
		}
		help := s.Help
		if s.values != nil {
			help += " One of `" + strings.Join(s.values, "`, `") + "`."
		}
		if bounds := s.Bounds(); bounds != "" {
			help += " Range: " + bounds + "."
		}
		variable := "`" + s.Env + "`"
		if s.Also != "" {
			variable += ", else `" + s.Also + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", flag, variable, value, help)
	}
	fmt.Fprintf(&b, `
## API keys

%[1]s%[2]s<ENVIRONMENT>%[1]s fixes the API key of an environment, which is made when it does not exist: %[1]s%[2]sDEV%[1]s is the key of the
environment %[1]sdev%[1]s, %[1]s%[2]sPROD%[1]s that of %[1]sprod%[1]s. The name is the part after the prefix in lower case: letters, digits and single underscores.
A key has at least %[3]d characters, without spaces, and belongs to one environment.

Without any such variable, the first start makes the environment %[1]sdev%[1]s with a key, prints the key, and keeps it as %[1]sdev.key%[1]s in the data
directory for the commands that run beside the server.

## Commands that talk to a server

%[1]ssyncline deploy%[1]s, %[1]sruns%[1]s and %[1]sdeliveries%[1]s read %[1]sSYNCLINE_SERVER%[1]s (the server's address; %[1]shttp://127.0.0.1:3003%[1]s without it) and take the key from
%[1]sSYNCLINE_SECRET_KEY%[1]s, else from %[1]s%[2]s<ENVIRONMENT>%[1]s of the environment that %[1]s--env%[1]s names (%[1]sdev%[1]s without it), else from the
key file in the data directory.
`, "`", SecretKeyPrefix, minSecretKey)
	return b.String()
}
