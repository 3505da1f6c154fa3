package migration

import "fmt"

const importOwn = `import brings secrets into the vault of VAULT_ADDR, with the rights of its token. KIND is vault,
openbao, json or dotenv. vault and openbao are a KV engine of version 2 of the server at --source-address. All versions that
can be read come, with the custom metadata. json is what "export" writes, or an object of names and objects. dotenv is one
secret of KEY=value lines. A file that is sealed with age needs --identity. The extension supabase_vault is imported by
"hyperion-vault-api import", which can connect to a database.

`

const importAPI = `Bring secrets into this vault, through the API of --address. KIND is vault, openbao, supabase, json or dotenv.
vault and openbao are a KV engine of version 2. All versions that can be read come, with the custom metadata. supabase is
the extension supabase_vault in a database. json is what "export" writes, or an object of names and objects. dotenv is one
secret of KEY=value lines. A file that is sealed with age needs --identity. The source of vault and openbao is what
VAULT_ADDR, VAULT_TOKEN, VAULT_CACERT and VAULT_NAMESPACE say. With --source-address and its siblings none of these
variables is read. The source of supabase is what
PGHOST, PGDATABASE and psql's other variables say.
`

const importResult = `What is there already is left alone, so a run that was interrupted can be started again. Each secret has a line on
standard error, and the report goes to standard output. Exit code 0: everything is there. %d: something is not, and the
report says what.`

func (h Host) importHelp() string {
	if h.Own != nil {
		return importOwn + fmt.Sprintf(importResult, h.ExitFailed)
	}
	return importAPI + fmt.Sprintf(importResult, h.ExitFailed)
}

const exportOwn = `export copies secrets of the vault of VAULT_ADDR that its token may read. Each read is in the audit. KIND is json,
dotenv, vault or openbao. json has all versions and settings. dotenv has the current version of the secret --name, as
KEY='value' lines. vault and openbao are a KV engine of version 2 of the server at --target-address.

`

const exportAPI = `Copy secrets that the token of --token-file may read, through the API of --address. Each read is in the audit. KIND is json,
dotenv, vault or openbao. json has all versions and settings. dotenv has the current version of the secret --name, as
KEY='value' lines. vault and openbao are a KV engine of version 2, of the server that VAULT_ADDR, VAULT_TOKEN, VAULT_CACERT
and VAULT_NAMESPACE say. With --target-address and its siblings none of these variables is read.
`

const exportResult = `json and dotenv are sealed with age for each --recipient. With --plaintext they are not. "import" reads both.
Each secret has a line on standard error. Exit code 0: everything was exported. %d: something was not, and the report
says what.`

func (h Host) exportHelp() string {
	if h.Own != nil {
		return exportOwn + fmt.Sprintf(exportResult, h.ExitFailed)
	}
	return exportAPI + fmt.Sprintf(exportResult, h.ExitFailed)
}
