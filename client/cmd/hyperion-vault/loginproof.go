package main

import "strings"

// proofOf returns what a login needs from its user, "" for nothing.
func (o *loginOptions) proofOf() (label string, err error) {
	label, known := map[string]string{"token": "Token", "approle": "Secret id", "jwt": "JWT", "cert": "", "userpass": "Password"}[o.method]
	switch {
	case !known:
		return "", usagef("--method is token, approle, jwt, cert or userpass")
	case o.method == "approle" && o.roleID == "":
		return "", usagef("a login by AppRole needs --role-id")
	case o.method == "userpass" && o.user == "":
		return "", usagef("a login by password needs --user")
	}
	return label, nil
}

// proof reads what a login proves itself with.
func (p *program) proof(source, label string) (string, error) {
	text, err := p.secretInput(source, label, false)
	if err != nil {
		return "", err
	}
	proof := strings.TrimRight(string(text), "\r\n")
	if label != "Password" { // which may begin and end with blanks
		proof = strings.TrimSpace(proof)
	}
	if proof == "" {
		return "", usagef("the input is empty")
	}
	return proof, nil
}
