/* A device with wolfSSL. */
#include "device.h"
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

static const char *reason(int fault)
{
    static char text[256];
    wolfSSL_ERR_error_string(fault, text);
    return text;
}

static int tls_write(void *ssl, unsigned char *data, int size) { return wolfSSL_write(ssl, data, size); }
static int tls_read(void *ssl, unsigned char *data, int size) { return wolfSSL_read(ssl, data, size); }

int main(int argc, char **argv)
{
    printf("wolfSSL %s\n", wolfSSL_lib_version());
    struct device d = called(argc, argv);
    wolfSSL_Init();
    WOLFSSL_CTX *context = wolfSSL_CTX_new(wolfTLS_client_method());
    wolfSSL_CTX_set_verify(context, WOLFSSL_VERIFY_PEER, NULL);
    int fault = wolfSSL_CTX_load_verify_locations(context, d.root, NULL);
    if (fault != WOLFSSL_SUCCESS)
        failed("root", "%s", reason(fault));
    if (d.cert && ((fault = wolfSSL_CTX_use_certificate_chain_file(context, d.cert)) != WOLFSSL_SUCCESS ||
                   (fault = wolfSSL_CTX_use_PrivateKey_file(context, d.key, WOLFSSL_FILETYPE_PEM)) != WOLFSSL_SUCCESS))
        failed("credential", "%s", reason(fault));
    WOLFSSL *ssl = wolfSSL_new(context);
    if (is_address(d.host)) {
        wolfSSL_X509_VERIFY_PARAM_set1_ip_asc(wolfSSL_get0_param(ssl), d.host);
    } else {
        wolfSSL_check_domain_name(ssl, d.host);
        wolfSSL_UseSNI(ssl, WOLFSSL_SNI_HOST_NAME, d.host, strlen(d.host));
    }
    wolfSSL_set_fd(ssl, dialed(&d));
    fault = wolfSSL_connect(ssl);
    if (fault != WOLFSSL_SUCCESS)
        failed("tls", "%s", reason(wolfSSL_get_error(ssl, fault)));
    mqtt(&d, tls_write, tls_read, ssl);
    return 0;
}
