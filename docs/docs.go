// Package docs carries the documents that the program serves.
package docs

import _ "embed"

// OpenAPI is the description of the REST API, OpenAPI 3 in YAML.
//
//go:embed openapi.yaml
var OpenAPI []byte
