/* A device with OpenSSL. */
#include "device.h"
#include <openssl/err.h>
#include <openssl/ssl.h>

static const char *reason(void)
{
    static char text[256];
    ERR_error_string_n(ERR_peek_last_error(), text, sizeof text);
    return text;
}

static int tls_write(void *ssl, unsigned char *data, int size) { return SSL_write(ssl, data, size); }
static int tls_read(void *ssl, unsigned char *data, int size) { return SSL_read(ssl, data, size); }

int main(int argc, char **argv)
{
    printf("%s\n", OpenSSL_version(OPENSSL_VERSION));
    struct device d = called(argc, argv);
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    if (!SSL_CTX_load_verify_locations(context, d.root, NULL))
        failed("root", "%s", reason());
    if (d.cert && (SSL_CTX_use_certificate_chain_file(context, d.cert) != 1 ||
                   SSL_CTX_use_PrivateKey_file(context, d.key, SSL_FILETYPE_PEM) != 1))
        failed("credential", "%s", reason());
    SSL *ssl = SSL_new(context);
    if (is_address(d.host)) {
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), d.host);
    } else {
        SSL_set1_host(ssl, d.host);
        SSL_set_tlsext_host_name(ssl, d.host);
    }
    SSL_set_fd(ssl, dialed(&d));
    if (SSL_connect(ssl) != 1) {
        long fault = SSL_get_verify_result(ssl);
        failed("tls", "%s", fault == X509_V_OK ? reason() : X509_verify_cert_error_string(fault));
    }
    mqtt(&d, tls_write, tls_read, ssl);
    return 0;
}
