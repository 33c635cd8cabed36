// Command sealed-secrets-controller runs the Sealed Secrets controller outside of a cluster. Upstream's own main reads
// only a Pod's mounted credentials; this one takes a kubeconfig, and leaves all the work to upstream's controller.
package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"reflect"
	"syscall"
	"time"
	"unsafe"

	"github.com/bitnami/sealed-secrets/pkg/client/clientset/versioned"
	"github.com/bitnami/sealed-secrets/pkg/client/informers/externalversions"
	"github.com/bitnami/sealed-secrets/pkg/controller"
	"github.com/bitnami/sealed-secrets/pkg/crypto"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/keyutil"
)

const (
	keyPrefix   = "sealed-secrets-key"
	keySelector = controller.SealedSecretsKeyLabel + "=active"
	keySize     = 4096
	validFor    = 365 * 24 * time.Hour
	maxRetries  = 5
	orderKeysBy = "CertNotBefore"
)

// serveUntilStopped unseals with the keys in the namespace, and serves health and the certificate that seals.
func serveUntilStopped(ctx context.Context, kubeconfig, namespace, listen string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	sealedClient, err := versioned.NewForConfig(config)
	if err != nil {
		return err
	}
	certificate, err := ensureKey(ctx, client, namespace)
	if err != nil {
		return fmt.Errorf("sealing key in namespace %s: %w", namespace, err)
	}
	unsealer, err := newController(client, sealedClient, namespace)
	if err != nil {
		return err
	}
	go unsealer.Run(ctx.Done())
	return serve(ctx, listen, unsealer, certificate)
}

// newController is upstream's, which watches the keys as well as the sealed Secrets of all namespaces.
func newController(client kubernetes.Interface, sealedClient versioned.Interface, namespace string) (*controller.Controller, error) {
	keys := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(options *metav1.ListOptions) { options.LabelSelector = keySelector }))
	made, err := controller.NewController(client, sealedClient, externalversions.NewSharedInformerFactory(sealedClient, 0),
		informers.NewSharedInformerFactory(client, 0), keys,
		controller.NewKeyRegistry(client, namespace, keyPrefix, controller.SealedSecretsKeyLabel, keySize), maxRetries, orderKeysBy)
	if err != nil {
		return nil, err
	}
	// On by default upstream, where only its own main can set it.
	update := reflect.ValueOf(made).Elem().FieldByName("updateStatus")
	if !update.IsValid() {
		return nil, errors.New("this version of the controller has no field updateStatus: set it another way")
	}
	reflect.NewAt(update.Type(), unsafe.Pointer(update.UnsafeAddr())).Elem().SetBool(true)
	return made, nil
}

// ensureKey returns the newest certificate that seals; it makes the first key.
func ensureKey(ctx context.Context, client kubernetes.Interface, namespace string) ([]byte, error) {
	secrets := client.CoreV1().Secrets(namespace)
	found, err := secrets.List(ctx, metav1.ListOptions{LabelSelector: keySelector})
	if err != nil {
		return nil, err
	}
	var newest *corev1.Secret
	for index := range found.Items {
		if newest == nil || newest.CreationTimestamp.Before(&found.Items[index].CreationTimestamp) {
			newest = &found.Items[index]
		}
	}
	if newest == nil {
		if newest, err = newKey(); err == nil {
			newest, err = secrets.Create(ctx, newest, metav1.CreateOptions{})
		}
		if err != nil {
			return nil, err
		}
	}
	return newest.Data[corev1.TLSCertKey], nil
}

// newKey is a Secret with a new key pair, as the controller looks for it.
func newKey() (*corev1.Secret, error) {
	private, certificate, err := crypto.GeneratePrivateKeyAndCert(keySize, validFor, "")
	if err != nil {
		return nil, err
	}
	encoded, err := keyutil.MarshalPrivateKeyToPEM(private)
	if err != nil {
		return nil, err
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: keyPrefix,
			Labels:       map[string]string{controller.SealedSecretsKeyLabel: "active"},
		},
		Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSPrivateKeyKey: encoded, corev1.TLSCertKey: encodeCertificate(certificate)},
	}, nil
}

func encodeCertificate(certificate *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
}

// serve answers on the paths of upstream's server until the context ends.
func serve(ctx context.Context, listen string, unsealer *controller.Controller, certificate []byte) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !unsealer.HasSynced() {
			http.Error(w, "it still fills its caches", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/v1/cert.pem", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-pem-file")
		_, _ = w.Write(certificate)
	})
	server := &http.Server{Addr: listen, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig of the identity that it works as")
	namespace := flag.String("namespace", "kube-system", "namespace of its keys")
	listen := flag.String("listen-addr", "127.0.0.1:8080", "where it serves its health and its certificate")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serveUntilStopped(ctx, *kubeconfig, *namespace, *listen); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
