package nodecheck

import (
	"context"
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
	return finding("the key service makes no data key: "+err.Error(), keyFix(n.cfg.KMS, kms.AWSCode(err), n.o)...)
}

// keyFix returns what an administrator of the key runs, by AWS's own program.
func keyFix(c config.KMS, code string, o Options) []string {
	key := " --key-id " + quote(c.KeyID)
	switch {
	case c.Mode != config.KMSAWS:
		return []string{edit(o)}
	case code == "NotFoundException":
		return []string{"aws kms list-aliases", edit(o)}
	case code == "DisabledException":
		return []string{"aws kms enable-key" + key}
	case code == "KMSInvalidStateException":
		return []string{"aws kms cancel-key-deletion" + key, "aws kms enable-key" + key}
	case code == "AccessDeniedException":
		return []string{"aws kms create-grant" + key +
			` --grantee-principal "$(aws sts get-caller-identity --query Arn --output text)" --operations GenerateDataKey Decrypt DescribeKey`}
	case code != "":
		return []string{"aws sts get-caller-identity"}
	}
	return []string{"aws kms describe-key" + key}
}
