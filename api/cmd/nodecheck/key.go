package nodecheck

import (
	"context"
	"regexp"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/cmd/service"
	"github.com/hyperiondb/hyperion-vault/api/config"
	"github.com/hyperiondb/hyperion-vault/api/kms"
)

// keyLimit bounds the calls of the key service, retries included.
const keyLimit = 8 * time.Second

// checkKey makes a data key and unwraps it.
func (n *node) checkKey(ctx context.Context) Report {
	ctx, cancel := context.WithTimeout(ctx, keyLimit)
	defer cancel()
	err := service.TryKey(ctx, n.cfg)
	if err == nil {
		return Report{}
	}
	return finding("the key service makes no data key: "+err.Error(), keyFix(n.cfg.KMS, err, n.o)...)
}

// keyFix returns what an administrator of the key runs, by AWS's own program.
func keyFix(c config.KMS, err error, o Options) []string {
	region := regionOf(c.KeyID)
	code, key := kms.AWSCode(err), region+" --key-id "+quote(c.KeyID)
	if strings.HasPrefix(c.KeyID, "alias/") || strings.Contains(c.KeyID, ":alias/") { // only some calls take an alias
		key = region + ` --key-id "$(aws kms describe-key` + key + ` --query KeyMetadata.Arn --output text)"`
	}
	switch {
	case c.Mode != config.KMSAWS:
		return []string{edit(o)}
	case code == "NotFoundException":
		return []string{"aws kms list-aliases" + region, edit(o)}
	case code == "DisabledException":
		return []string{"aws kms enable-key" + key}
	case code == "KMSInvalidStateException":
		return []string{"aws kms cancel-key-deletion" + key, "aws kms enable-key" + key}
	case code == "AccessDeniedException":
		return []string{"aws kms create-grant" + key + " --grantee-principal " + refusedPrincipal(err) + " --operations GenerateDataKey Decrypt DescribeKey"}
	case code != "":
		return []string{"aws sts get-caller-identity"}
	}
	return []string{"aws kms describe-key" + region + " --key-id " + quote(c.KeyID)}
}

// regionOf returns the option for the region of a key that is named by its ARN. Otherwise the region is that of the settings
// of AWS's program.
func regionOf(key string) string {
	if parts := strings.Split(key, ":"); len(parts) >= 6 && parts[0] == "arn" {
		return " --region " + quote(parts[3])
	}
	return ""
}

var principal = regexp.MustCompile(`\barn:[a-z-]+:(?:iam|sts)::[0-9]+:[^\s"\\]+`)

// refusedPrincipal is a word of the shell for the identity that AWS refused, which is not that of the administrator who
// reads the command.
func refusedPrincipal(err error) string {
	if name := principal.FindString(err.Error()); name != "" {
		return quote(name)
	}
	return `"$(aws sts get-caller-identity --query Arn --output text)"`
}
