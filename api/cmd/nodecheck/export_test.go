package nodecheck

// Quote is quote, for tests.
var Quote = quote
