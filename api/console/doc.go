// Package console is the pages for people: it lists, shows and changes secrets, grants and tokens in a browser. It is a
// transport like api/httpapi, which owns its connections: it knows no SQL, decides nothing and opens nothing, and calls
// only the door, with the credential that its user logged in with. So grants, audit and quotas are those of REST. Pages
// are made on the server and work without a script. Values never reach a log, a URL or a cookie.
package console
