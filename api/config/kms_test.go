package config

import (
	"encoding/base64"
	"strings"
	"testing"
)

// TestOldKey: the key that is moved from must be another one, and be named as rows name it.
func TestOldKey(t *testing.T) {
	one := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("1", 32)))
	two := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("2", 32)))
	const arn = "arn:aws:kms:eu-west-1:123456789012:key/1234"
	local := []string{"VAULT_KMS_MODE=local", "VAULT_LOCAL_MASTER_KEY=" + one}
	aws := []string{"VAULT_KMS_MODE=aws", "VAULT_KMS_KEY_ID=" + arn}
	for _, env := range [][]string{
		append(local, "VAULT_OLD_LOCAL_MASTER_KEY="+two),
		append(local, "VAULT_OLD_KMS_KEY_ID="+arn, "VAULT_OLD_KMS_PROFILE=old", "VAULT_OLD_KMS_ENDPOINT=https://kms.example"),
		append(aws, "VAULT_OLD_LOCAL_MASTER_KEY="+two),
	} {
		c, _, err := Load(func() []string { return env })
		if err != nil || c.KMS.Old.KeyID == "" && len(c.KMS.Old.MasterKey) != 32 {
			t.Errorf("%v: %v", env[1:], err)
		}
		c.Wipe()
		if strings.Trim(string(c.KMS.Old.MasterKey), "\x00") != "" {
			t.Error("the old master key is not wiped")
		}
	}
	for text, env := range map[string][]string{
		"the same key as VAULT_LOCAL_MASTER_KEY": append(local, "VAULT_OLD_LOCAL_MASTER_KEY="+one),
		"the same key as VAULT_KMS_KEY_ID":       append(aws, "VAULT_OLD_KMS_KEY_ID="+arn),
		"(value not shown): want base64":         append(aws, "VAULT_OLD_LOCAL_MASTER_KEY="+two[1:]),
		"want the ARN of a key":                  append(local, "VAULT_OLD_KMS_KEY_ID=alias/old"),
		"PROFILE is set without":                 append(local, "VAULT_OLD_KMS_PROFILE=old"),
		"ENDPOINT is set without":                append(local, "VAULT_OLD_KMS_ENDPOINT=https://kms.example"),
		"want https://HOST":                      append(local, "VAULT_OLD_KMS_KEY_ID="+arn, "VAULT_OLD_KMS_ENDPOINT=kms.example"),
	} {
		_, _, err := Load(func() []string { return env })
		if err == nil || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), one) || strings.Contains(err.Error(), two[1:]) {
			t.Errorf("%v, want %q", err, text)
		}
	}
}
