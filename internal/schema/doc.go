// Package schema checks JSON documents against the JSON Schemas (draft 2020-12)
// that functions declare, as zod's toJSONSchema writes them. What it refuses
// is what zod's own parse refuses, as far as a JSON Schema can tell. Schemas
// and documents come from users: both are bounded in size, depth and work, and
// a schema refers to nothing outside itself. The package knows no functions and
// no records.
package schema
